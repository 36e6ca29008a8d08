"""What a request that breaks a rule costs: the connection, or with REPLY_ACK sometimes the request alone."""

from softdpu.testkit import Disconnected, FrontEnd
from softdpu.testkit.vhost_wire import NUMBER, VERSION, Flag, Request
from tests.vhost.back_ends import Datapath


def closes(front: FrontEnd) -> bool:
    """Whether the back end has hung up, after it has dealt with everything that was sent."""
    try:
        front.settle()
    except Disconnected:
        return True
    return False


def cause(datapath: Datapath) -> str:
    """The sentence that the operator is told."""
    return datapath.event("peer_fault").cause


def refused(front: FrontEnd, request: int, payload: bytes, fds: tuple[int, ...] = ()) -> bool:
    """Whether a request that wants an answer is answered by a refusal, and the connection goes on."""
    front.send(request, payload, fds, flags=VERSION | Flag.NEED_REPLY)
    reply = front.receive()
    assert reply.request == request
    front.number(Request.GET_FEATURES)
    return reply.payload != NUMBER.pack(value=0)
