// receivers: hold N event streams that reconnect with their cursors, and keep a ledger of what each one receives.
// One thread, epoll. It does what the JavaScript client does after a break: it waits half to the whole of a delay of
// 0.5 s, which doubles with each failure up to 15 s, and continues with the `id:` of the last complete event.
// build: cc -O2 -o receivers receivers.c
// use:   receivers -p PORT -n STREAMS -f FIRST_USER -s SOURCE_ADDRESS [-j max streams that are opening at once]
//
// Numbered events, in the data: `T=<ns CLOCK_MONOTONIC>;B=<n>;` is event n of the channel of all users, and
// `T=<ns>;N=<n>;` is part n of the answer of this user. Both count from 0. One event may have several stamps. An event
// counts when its blank line has arrived, as for a browser.
//
// Standard input: `mark` begins a new measurement of delays and of the time of the last event; `report` prints one line
// of JSON. The program ends with its standard input, so that it never outlives the program that started it.
//
// The ledger of a receiver and a kind of event: `received` counts numbers that arrived for the first time, `duplicates`
// those that arrived again, `late` those that arrived for the first time after a higher number. What is missing follows
// from `received` and from what was published. `generation.restarted` voids the parts that the receiver has so far.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WAITING, CONNECTING, HEADERS, OPEN };              // the states of a stream
enum { BROADCASTS, PARTS, KINDS };                        // the kinds of numbered events
enum { MAX_NUMBERS = 4096, DELAYS = 120000, BUFFER = 1 << 18 };
static const char *kind_names[KINDS] = {"broadcasts", "parts"};
static const char kind_letters[KINDS] = {'B', 'N'};

typedef struct { long received, duplicates, late, unknown; } totals;
typedef struct { int highest, size; unsigned char *seen; } numbers; // seen: one bit for each number
typedef struct {
  int fd, state, failures, has_ended;
  long long due;                                           // of the next attempt
  char *cursor, *rest;                                     // rest: the bytes of an incomplete event
  int rest_size;
  numbers kinds[KINDS];
} stream;

static totals ledger[KINDS];
static long delays[KINDS][DELAYS];                         // in ms; the last one holds the rest
static long long last_event[KINDS], last_open;             // times of the newest first arrival, and of the newest opening
static long ends[3], ended_again, restarts, resets, byes, refused, opened, breaks, heartbeats, open_now, opening;
static const char *end_names[3] = {"generation.done", "generation.failed", "generation.stopped"};
static stream *streams;
static int epoll_fd, port, count, first_user;
static struct sockaddr_in source;

static long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void record(stream *s, int kind, long n, long long delay) {
  totals *t = &ledger[kind];
  numbers *k = &s->kinds[kind];
  if (n < 0 || n >= MAX_NUMBERS) { t->unknown++; return; }
  if (n / 8 >= k->size) {
    int size = n / 8 + 16;
    k->seen = realloc(k->seen, size);
    memset(k->seen + k->size, 0, size - k->size);
    k->size = size;
  }
  if (k->seen[n / 8] & 1 << n % 8) { t->duplicates++; return; }
  k->seen[n / 8] |= 1 << n % 8;
  t->received++;
  if (n + 1 < k->highest) t->late++; else k->highest = n + 1;
  long ms = delay < 0 ? 0 : delay / 1000000;
  delays[kind][ms < DELAYS ? ms : DELAYS - 1]++;
  last_event[kind] = now_ns();
}

static void read_stamps(stream *s, const char *p, const char *end) {
  long long now = now_ns();
  while (p + 4 < end && (p = memmem(p, end - p, "T=", 2))) {
    char *after;
    long long at = strtoll(p + 2, &after, 10);
    p = after;
    if (p + 3 >= end || p[0] != ';' || p[2] != '=') continue;
    for (int kind = 0; kind < KINDS; kind++)
      if (p[1] == kind_letters[kind]) record(s, kind, strtol(p + 3, 0, 10), now - at);
  }
}

// Another worker begins the answer anew: what came so far is void.
static void on_restart(stream *s) {
  numbers *k = &s->kinds[PARTS];
  for (int n = 0; n < 8 * k->size; n++) if (k->seen[n / 8] & 1 << n % 8) ledger[PARTS].received--;
  if (k->size) memset(k->seen, 0, k->size);
  k->highest = 0;
  restarts++;
}

static int begins(const char *line, const char *end, const char *text) {
  int n = strlen(text);
  return end - line >= n && !memcmp(line, text, n);
}

// A complete event: its lines without the blank one. Its bytes end with a line feed.
static void on_event(stream *s, const char *p, const char *end) {
  int has_data = 0;
  const char *id = 0, *id_end = 0, *name = 0, *name_end = 0;
  for (const char *line = p, *lf; line < end && (lf = memchr(line, '\n', end - line)); line = lf + 1) {
    if (begins(line, lf, ":")) heartbeats++;
    else if (begins(line, lf, "data:")) { has_data = 1; read_stamps(s, line, lf); }
    else if (begins(line, lf, "id: ")) { id = line + 4; id_end = lf; }
    else if (begins(line, lf, "event: ")) { name = line + 7; name_end = lf; }
  }
  if (!has_data) return;
  if (id) { free(s->cursor); s->cursor = strndup(id, id_end - id); }
  if (!name) return;
  if (begins(name, name_end, "hub.reset")) resets++;
  if (begins(name, name_end, "hub.bye")) byes++;
  if (begins(name, name_end, "generation.restarted")) on_restart(s);
  for (int n = 0; n < 3; n++) if (begins(name, name_end, end_names[n])) {
    if (s->has_ended) ended_again++; else ends[n]++;
    s->has_ended = 1;
  }
}

static void connect_stream(stream *s) {
  int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  if (fd < 0) { perror("socket"); exit(1); }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
  if (bind(fd, (void *)&source, sizeof source)) { perror("bind"); exit(1); }
  if (connect(fd, (void *)&to, sizeof to) && errno != EINPROGRESS) { perror("connect"); exit(1); }
  s->fd = fd; s->state = CONNECTING; s->rest_size = 0; opening++;
  struct epoll_event ev = {.events = EPOLLOUT, .data.u32 = s - streams};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

static void break_stream(stream *s, long long now) {
  close(s->fd);
  if (s->state == OPEN) { open_now--; breaks++; s->failures = 0; } else { opening--; s->failures++; }
  s->state = WAITING; s->rest_size = 0;
  double ms = 500.0 * (1 << (s->failures < 5 ? s->failures : 5));
  if (ms > 15000) ms = 15000;
  s->due = now + (long long)(ms * (0.5 + drand48() / 2) * 1e6);
}

static void send_request(stream *s, long long now) {
  int error = 0; socklen_t size = sizeof error; char request[2048];
  getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error) { break_stream(s, now); return; }
  int n = snprintf(request, sizeof request, "GET /sse/connect/u%d HTTP/1.1\r\nHost: localhost:%d\r\nAccept: text/event-stream\r\n%s%s%s\r\n",
    first_user + (int)(s - streams), port, s->cursor ? "Last-Event-ID: " : "", s->cursor ? s->cursor : "", s->cursor ? "\r\n" : "");
  if (write(s->fd, request, n) != n) { break_stream(s, now); return; }
  s->state = HEADERS;
  struct epoll_event ev = {.events = EPOLLIN, .data.u32 = s - streams};
  epoll_ctl(epoll_fd, EPOLL_CTL_MOD, s->fd, &ev);
}

// Consume complete events of the buffer; return how many bytes were consumed, or -1 if the response is refused.
static long consume(stream *s, char *buffer, long size) {
  char *p = buffer, *end = buffer + size, *line = p, *lf;
  while (line < end && (lf = memchr(line, '\n', end - line))) {
    int is_blank = lf == line || (lf == line + 1 && *line == '\r');
    if (s->state == HEADERS) {
      if (is_blank) { s->state = OPEN; opening--; open_now++; opened++; last_open = now_ns(); p = lf + 1; }
      else if (begins(line, lf, "HTTP/1.1 ") && !begins(line, lf, "HTTP/1.1 200")) { refused++; return -1; }
    } else if (is_blank) { on_event(s, p, line); p = lf + 1; }
    line = lf + 1;
  }
  return p - buffer;
}

static void on_readable(stream *s, char *buffer, long long now) {
  if (s->rest_size) memcpy(buffer, s->rest, s->rest_size);
  ssize_t got = read(s->fd, buffer + s->rest_size, BUFFER - s->rest_size);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) { break_stream(s, now); return; }
  long size = s->rest_size + got, used = consume(s, buffer, size);
  if (used < 0) { break_stream(s, now); return; }
  s->rest_size = size - used;
  if (s->rest_size) { s->rest = realloc(s->rest, s->rest_size); memcpy(s->rest, buffer + used, s->rest_size); }
  else { free(s->rest); s->rest = 0; }
}

static void report(void) {
  printf("{\"open\":%ld,\"opened\":%ld,\"breaks\":%ld,\"refused\":%ld,\"resets\":%ld,\"byes\":%ld,\"heartbeats\":%ld,\"last_open\":%lld",
    open_now, opened, breaks, refused, resets, byes, heartbeats, last_open);
  printf(",\"done\":%ld,\"failed\":%ld,\"stopped\":%ld,\"ended_again\":%ld,\"restarts\":%ld", ends[0], ends[1], ends[2], ended_again, restarts);
  for (int k = 0; k < KINDS; k++) {
    totals *t = &ledger[k];
    printf(",\"%s\":{\"received\":%ld,\"duplicates\":%ld,\"late\":%ld,\"unknown\":%ld,\"last_event\":%lld,\"delays\":[",
      kind_names[k], t->received, t->duplicates, t->late, t->unknown, last_event[k]);
    for (int ms = 0, n = 0; ms < DELAYS; ms++) if (delays[k][ms]) printf("%s[%d,%ld]", n++ ? "," : "", ms, delays[k][ms]);
    printf("]}");
  }
  puts("}");
  fflush(stdout);
}

static void on_command(void) {
  static char line[64]; static int size;
  char byte;
  if (read(0, &byte, 1) <= 0) exit(0);
  if (byte != '\n') { if (size < 63) line[size++] = byte; return; }
  line[size] = 0; size = 0;
  if (!strcmp(line, "report")) report();
  if (!strcmp(line, "mark")) { memset(delays, 0, sizeof delays); memset(last_event, 0, sizeof last_event); last_open = 0; }
}

int main(int ac, char **av) {
  int max_opening = 200, option, started = 0;
  const char *address = "127.0.0.1";
  while ((option = getopt(ac, av, "p:n:f:s:j:")) != -1) switch (option) {
    case 'p': port = atoi(optarg); break;
    case 'n': count = atoi(optarg); break;
    case 'f': first_user = atoi(optarg); break;
    case 's': address = optarg; break;
    case 'j': max_opening = atoi(optarg); break;
    default: return 2;
  }
  source.sin_family = AF_INET;
  inet_pton(AF_INET, address, &source.sin_addr);
  signal(SIGPIPE, SIG_IGN);
  srand48(first_user + 1);
  streams = calloc(count, sizeof *streams);
  epoll_fd = epoll_create1(0);
  struct epoll_event input = {.events = EPOLLIN, .data.u32 = UINT32_MAX}, ready[512];
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, 0, &input);
  char *buffer = malloc(BUFFER);
  long long scanned = 0;
  for (;;) {
    while (started < count && opening < max_opening) connect_stream(&streams[started++]);
    int n = epoll_wait(epoll_fd, ready, 512, 20);
    long long now = now_ns();
    for (int i = 0; i < n; i++) {
      if (ready[i].data.u32 == UINT32_MAX) { on_command(); continue; }
      stream *s = &streams[ready[i].data.u32];
      if (s->state == CONNECTING) send_request(s, now);
      else on_readable(s, buffer, now);
    }
    if (now - scanned > 20000000 && open_now + opening < started) { // some wait for their next attempt
      scanned = now;
      for (int i = 0; i < started; i++) if (streams[i].state == WAITING && streams[i].due <= now) connect_stream(&streams[i]);
    }
  }
}
