// token_load: send prepared commands to a broker over a Unix socket, at a fixed rate or as fast as they are answered.
// use: token_load -s SOCKET -f COMMANDS -n ROUNDS [-R commands per second, 0 = closed loop]
// COMMANDS is a file of commands, each after its length (4 bytes). In every round each command is sent once: nineteen 0 become the time at which it
// was due in ns (CLOCK_MONOTONIC; without a rate, the time at which it is sent), and seven # the number of the round.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <time.h>
#include <fcntl.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#define WINDOW 4000 // unanswered commands at the most
#define BLOCK 500 // commands in one write at the most
typedef struct { char *bytes, *time, *number; int size; } command;
static long long now_ns(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000LL + t.tv_nsec; }
static void digits(char *to, int width, long long value) { while (width--) { to[width] = '0' + value % 10; value /= 10; } }
// Return the end of the reply that begins at p, 0 if it is not complete. A refusal by the broker ends the program: it would look fast.
static char *reply_end(char *p, char *end) {
    char *line = memmem(p, end - p, "\r\n", 2);
    if (!line) return 0;
    long n = atol(p + 1);
    if (*p == '-') { fprintf(stderr, "token_load: the broker refuses a command: %.*s\n", (int)(line - p - 1), p + 1); exit(1); }
    line += 2;
    if (*p == '$' && n >= 0) return line + n + 2 <= end ? line + n + 2 : 0;
    if (*p == '*') for (; n > 0 && line; n--) line = line < end ? reply_end(line, end) : 0;
    return line;
}
int main(int argc, char **argv) {
    const char *path = "", *file = ""; long rounds = 1, rate = 0; int option;
    while ((option = getopt(argc, argv, "s:f:n:R:")) != -1) switch (option) {
        case 's': path = optarg; break; case 'f': file = optarg; break;
        case 'n': rounds = atol(optarg); break; case 'R': rate = atol(optarg); break;
        default: return 2;
    }
    FILE *in = fopen(file, "rb"); if (!in) { perror(file); return 1; }
    command *commands = 0; long count = 0; unsigned size; size_t longest = 0;
    while (fread(&size, 4, 1, in) == 1) {
        commands = realloc(commands, (count + 1) * sizeof *commands);
        char *bytes = malloc(size);
        if (fread(bytes, 1, size, in) != size) { fprintf(stderr, "token_load: %s is cut\n", file); return 1; }
        command c = {bytes, memmem(bytes, size, "0000000000000000000", 19), memmem(bytes, size, "#######", 7), size};
        if (!c.time || !c.number) { fprintf(stderr, "token_load: a command has no time or no number\n"); return 1; }
        commands[count++] = c; if (size > longest) longest = size;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM, 0); struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (connect(fd, (void *)&address, sizeof address)) { perror(path); return 1; }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    char *out = malloc(BLOCK * longest), *replies = malloc(1 << 20); size_t to_write = 0, written = 0, unread = 0;
    long total = count * rounds, sent = 0, answered = 0, max_late = 0; long long start = now_ns() + 50000000;
    while (answered < total) {
        long long now = now_ns();
        if (written == to_write) {
            long due = rate ? (now < start ? 0 : (long)((double)(now - start) * rate / 1e9) + 1) : total;
            if (due > total) due = total;
            if (due - sent > max_late) max_late = due - sent;
            long n = due - sent; if (n > WINDOW - (sent - answered)) n = WINDOW - (sent - answered); if (n > BLOCK) n = BLOCK;
            written = to_write = 0;
            for (; n > 0; n--, sent++) {
                command *c = &commands[sent % count];
                digits(c->time, 19, rate ? start + (long long)(sent * (1e9 / rate)) : now); digits(c->number, 7, sent / count);
                memcpy(out + to_write, c->bytes, c->size); to_write += c->size;
            }
        }
        while (written < to_write) { ssize_t n = write(fd, out + written, to_write - written); if (n < 0) { if (errno == EAGAIN) break; perror("write"); return 1; } written += n; }
        struct pollfd poll_fd = {fd, POLLIN | (written < to_write ? POLLOUT : 0)}; struct timespec pause = {0, 200000};
        if (ppoll(&poll_fd, 1, &pause, 0) <= 0 || !(poll_fd.revents & ~POLLOUT)) continue;
        ssize_t got = read(fd, replies + unread, (1 << 20) - unread);
        if (got <= 0) { if (got < 0 && errno == EAGAIN) continue; fprintf(stderr, "token_load: the broker has closed the connection\n"); return 1; }
        char *p = replies, *end = replies + unread + got, *next;
        while (p < end && (next = reply_end(p, end))) { answered++; p = next; }
        unread = end - p; memmove(replies, p, unread);
    }
    printf("{\"events\": %ld, \"per_s\": %.0f, \"max_late\": %ld}\n", total, total / ((now_ns() - start) / 1e9), max_late);
}
