"""The HTTP interface of a controller, on a unix socket; described by OpenAPI at /schema/openapi.json."""
