/* datagrams send ADDRESS SEGMENT PIECE | datagrams receive ADDRESS SEGMENT TOTAL
 *
 * Sends standard input as UDP, PIECE bytes a call, to be cut into datagrams of SEGMENT bytes by whoever can (UDP_SEGMENT);
 * or writes TOTAL bytes of datagrams of at most SEGMENT to standard output. ADDRESS is a struct sockaddr in hexadecimal.
 * Exit status: the errno of what failed; 200 for a datagram that is too long. For x86-64 Linux and no C library, so
 * that it is small enough for a guest's serial line.
 */
#include <asm/unistd.h>

enum { DATAGRAM = 2, SOCKET_LEVEL = 1, RECEIVE_TIMEOUT = 20, RECEIVE_BUFFER = 33, UDP = 17, SEGMENT = 103 };
enum { TOO_LONG = 200 };

static char bytes[65536];

static long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static long sure(long result)
{
    if (result < 0)
        call(__NR_exit, -result, 0, 0, 0, 0, 0);
    return result;
}

static long number(const char *text)
{
    long value = 0;
    while (*text)
        value = 10 * value + *text++ - '0';
    return value;
}

static long unhex(const char *text, char *into)
{
    long n = 0;
    for (; text[2 * n]; n++)
        for (int half = 0; half < 2; half++) {
            char digit = text[2 * n + half];
            into[n] = into[n] << 4 | (digit <= '9' ? digit - '0' : digit - 'a' + 10);
        }
    return n;
}

/* Standard input until the buffer has `most` bytes or it ends. */
static long fill(long most)
{
    long n = 0, more;
    while (n < most && (more = sure(call(__NR_read, 0, (long)bytes + n, most - n, 0, 0, 0))))
        n += more;
    return n;
}

static void transmit(long socket, char *address, long length, int segment, long piece)
{
    long n;
    sure(call(__NR_setsockopt, socket, UDP, SEGMENT, (long)&segment, sizeof segment, 0));
    while ((n = fill(piece)))
        sure(call(__NR_sendto, socket, (long)bytes, n, 0, (long)address, length));
}

static void receive(long socket, char *address, long length, int segment, long total)
{
    int room = 4 << 20;
    long patience[2] = {20, 0};
    sure(call(__NR_setsockopt, socket, SOCKET_LEVEL, RECEIVE_BUFFER, (long)&room, sizeof room, 0));
    sure(call(__NR_setsockopt, socket, SOCKET_LEVEL, RECEIVE_TIMEOUT, (long)patience, sizeof patience, 0));
    sure(call(__NR_bind, socket, (long)address, length, 0, 0, 0));
    for (long n; total > 0; total -= n) {
        n = sure(call(__NR_recvfrom, socket, (long)bytes, sizeof bytes, 0, 0, 0));
        sure(n > segment ? -TOO_LONG : call(__NR_write, 1, (long)bytes, n, 0, 0, 0));
    }
}

__attribute__((used, noreturn)) static void begin(long *stack)
{
    char **words = (char **)(stack + 1), address[128] = {0};
    long length = unhex(words[2], address);
    long socket = sure(call(__NR_socket, *(unsigned short *)address, DATAGRAM, 0, 0, 0, 0));
    (words[1][0] == 's' ? transmit : receive)(socket, address, length, number(words[3]), number(words[4]));
    call(__NR_exit, 0, 0, 0, 0, 0, 0);
    __builtin_unreachable();
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\nand $-16, %rsp\ncall begin\n");
