"""What the operator asked of a function and cannot have: the exception's text is the sentence to print."""

import errno


class Mistake(ValueError):
    """Base of all refusals. ``errno`` is the one to report; ``str()`` is one sentence: what, why, what to do."""

    errno = errno.EINVAL


class BadSetting(Mistake):
    """A value is outside what the function can be set to."""


class NotImplementedFeature(Mistake):
    """A feature bit was asked for that this device does not have."""

    errno = errno.EOPNOTSUPP


class DriverBound(Mistake):
    """The change needs that no driver is bound to the function."""

    errno = errno.EBUSY


class NotOurs(Mistake):
    """What was to change is the VMM's, over vhost-user."""

    errno = errno.EOPNOTSUPP


class BadState(Mistake):
    """A saved state does not describe a function. The text names the field."""
