/* base/log.c - lines for standard error, and the thread that writes them.
 *
 * The buffer has two halves: lines are added to one while the writer writes the other. Once a line has found no room,
 * all that follow are left out until the writer takes that half, so that the gap is one and the count of it stands in
 * its place. The writer uses write(2): a thread that is stuck within stdio would hold a lock that exit() may want. */
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/progress.h"
#include "base/utf8.h"

enum { LINE_BYTES = 4096, TEXT_BYTES = 1024, VALUE_BYTES = 300 };

/* How bytes reach standard error. */
enum way { WAY_DIRECT, WAY_BUFFER, WAY_CLOSED };

static _Atomic int least = LOG_INFO, style = LOG_PLAIN;
static _Atomic bool colours;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t  filled;      /* there is something to write, or to stop for       */
    pthread_t       writer;
    enum way        way;
    bool            stopping;
    char            half[2][LOG_BYTES / 2];
    int             filling;     /* the half that is added to                         */
    size_t          n;           /* bytes in it                                       */
    uint64_t        lost;        /* lines that found no room after them               */
} out = { .lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER };

void log_set_level(enum log_level level) { atomic_store(&least, (int)level); }

/* Colours only where a person sees them and has not asked for none (no-color.org). */
void log_set_format(enum log_format format)
{
    const char *none = getenv("NO_COLOR"), *term = getenv("TERM");
    atomic_store(&style, (int)format);
    atomic_store(&colours, format == LOG_PLAIN && isatty(STDERR_FILENO) && !(none && *none) && term &&
                               strcmp(term, "dumb") != 0);
}

static uint64_t count_lines(const char *data, size_t n)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < n; i++)
        lines += data[i] == '\n';
    return lines;
}

/* Writes all of it, waiting as long as it takes, and returns how many bytes could be written: fewer than n when the
 * disk is full, the file as large as it may get, or the pipe's reader gone. */
static size_t write_all(const char *data, size_t n)
{
    size_t done = 0;
    while (done < n) {
        ssize_t k = write(STDERR_FILENO, data + done, n - done);
        if (k >= 0)
            done += (size_t)k;
        else if (errno == EAGAIN)
            poll(&(struct pollfd){ .fd = STDERR_FILENO, .events = POLLOUT }, 1, -1);
        else if (errno != EINTR)
            break;
    }
    return done;
}

/* Adds to the half that is being filled, and never waits for the writer. The lock is held only while bytes are copied.
 * Without the writer's thread the bytes are written at once; after log_stop() gave up on it they are dropped. */
void log_bytes(const char *data, size_t n)
{
    pthread_mutex_lock(&out.lock);
    enum way way = out.way;
    if (way == WAY_BUFFER) {
        if (out.lost == 0 && n <= sizeof out.half[0] - out.n) {
            memcpy(out.half[out.filling] + out.n, data, n);
            out.n += n;
        } else {
            out.lost += count_lines(data, n);
        }
        pthread_cond_signal(&out.filled);
    }
    pthread_mutex_unlock(&out.lock);
    if (way == WAY_DIRECT)
        write_all(data, n);
}

/* ---- lines ---- */

/* A line as it is built: what does not fit is left out, but never its end. */
struct line { char data[LINE_BYTES]; size_t n; bool json; };

enum { LINE_END = 3 };         /* room that is kept for `"}` and the end of the line */

static void put(struct line *l, const char *s, size_t n)
{
    if (n <= sizeof l->data - LINE_END - l->n) {
        memcpy(l->data + l->n, s, n);
        l->n += n;
    }
}

static void put_string(struct line *l, const char *s) { put(l, s, strlen(s)); }

/* Text of strangers, up to `most` bytes of it. Control characters become '?': no client writes lines of its own into
 * our log, or has a terminal do something. So does what is no UTF-8. In JSON quotes are escaped. A character is
 * put as a whole or not at all. */
static void put_text(struct line *l, const char *s, size_t n, size_t most)
{
    n = n < most ? n : utf8_complete(s, most);
    for (size_t i = 0; i < n;) {
        int len;
        uint32_t c = utf8_get(s + i, n - i, &len);
        if (c < 0x20 || (c >= 0x7f && c < 0xa0) || (c == 0xfffd && len == 1))
            put(l, "?", 1);
        else if (l->json && (c == '"' || c == '\\'))
            put(l, (char[]){ '\\', (char)c }, 2);
        else
            put(l, s + i, (size_t)len);
        i += (size_t)len;
    }
}

/* Time and level, with which every line begins: as text, with colours where a person looks, or as the beginning of a
 * JSON object whose string of the message is still open. */
static void put_head(struct line *l, enum log_level level)
{
    static const char *const name[] = { "debug", "info", "warn", "error" };
    static const char *const colour[] = { "\033[2m", "", "\033[33m", "\033[31m" };
    struct timespec ts;
    struct tm tm;
    char time[40], head[120];
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    size_t n = strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(time + n, sizeof time - n, ".%03ldZ", ts.tv_nsec / 1000000);
    if (l->json)
        snprintf(head, sizeof head, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\"", time, name[level]);
    else if (atomic_load(&colours) && *colour[level])
        snprintf(head, sizeof head, "%s %s%s\033[0m ", time, colour[level], name[level]);
    else
        snprintf(head, sizeof head, "%s %s ", time, name[level]);
    put_string(l, head);
}

static void begin(struct line *l, enum log_level level)
{
    l->n = 0;
    l->json = atomic_load(&style) == LOG_JSON;
    put_head(l, level);
}

/* The end of a line: in JSON the string and the object are closed. There is always room for it, since parts are cut to
 * leave some. */
static void end(struct line *l, bool in_string)
{
    static const char json[] = "\"}\n";
    const char *tail = json + (l->json ? !in_string : 2);
    size_t n = strlen(tail);
    memcpy(l->data + l->n, tail, n);
    l->n += n;
}

/* A value that has blanks or quotes in it stands in quotes, so that it is seen where it ends. */
static void put_field(struct line *l, const struct log_field *f)
{
    char number[64];
    bool quoted = l->json ? f->text != NULL : f->text && f->text[strcspn(f->text, " \"=")];
    if (f->text && !*f->text)
        return;
    snprintf(number, sizeof number, "%.*f", f->decimals, f->number);
    size_t n = f->text ? strlen(f->text) : strlen(number), before = l->n;
    put_string(l, l->json ? ",\"" : " ");
    put_string(l, f->name);
    put_string(l, l->json ? "\":" : "=");
    put_string(l, quoted ? "\"" : "");
    put_text(l, f->text ? f->text : number, n, VALUE_BYTES);
    put_string(l, quoted ? "\"" : "");
    if (l->n + VALUE_BYTES / 8 > sizeof l->data - LINE_END)
        l->n = before;             /* it may have lost a part */
}

/* The line is built first and handed over at once, so that threads do not mix theirs. */
void log_line(enum log_level level, const char *fmt, ...)
{
    if ((int)level < atomic_load(&least))
        return;
    char text[TEXT_BYTES];
    struct line l;
    va_list ap;
    va_start(ap, fmt);
    int k = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    begin(&l, level);
    put_text(&l, text, k < 0 ? 0 : strlen(text), sizeof text);
    end(&l, true);
    progress_hide();
    log_bytes(l.data, l.n);
}

void log_fields(enum log_level level, const char *message, const struct log_field *field, int n)
{
    if ((int)level < atomic_load(&least))
        return;
    struct line l;
    begin(&l, level);
    put_text(&l, message, strlen(message), TEXT_BYTES);
    put_string(&l, l.json ? "\"" : "");
    for (int i = 0; i < n && i < LOG_FIELDS; i++)
        put_field(&l, &field[i]);
    end(&l, false);
    progress_hide();
    log_bytes(l.data, l.n);
}

/* ---- the writer ---- */

struct gap {
    uint64_t lines;        /* left out and not told yet                  */
    bool     torn;         /* the last line that was written has no end  */
};

/* What cannot be written is left out, and its lines are counted. */
static bool write_or_count(struct gap *gap, const char *data, size_t n)
{
    if (n > 0 && gap->torn && write_all("\n", 1) == 1)
        gap->torn = false;
    size_t done = gap->torn ? 0 : write_all(data, n);
    if (done > 0)
        gap->torn = done < n && data[done - 1] != '\n';
    gap->lines += count_lines(data + done, n - done);
    return done == n;
}

/* Says in the log how many lines are missing at this place. If not even that can be written, the number stays for the
 * next time. */
static void tell_gap(struct gap *gap)
{
    char text[120];
    struct line l;
    snprintf(text, sizeof text, "%llu lines of the log are missing here: they could not be written",
             (unsigned long long)gap->lines);
    begin(&l, LOG_WARN);
    put_string(&l, text);
    end(&l, true);
    uint64_t lines = gap->lines;
    gap->lines = 0;
    if (!write_or_count(gap, l.data, l.n))
        gap->lines = lines;
}

/* The writer's thread. It takes the half that is being filled, lets the others go on with the other half, and writes
 * without the lock, however long that takes. Lines that were lost before this half are told in front of it, those that
 * found no room in it behind it. It ends when it is told to stop and has written everything. */
static void *write_halves(void *ctx)
{
    (void)ctx;
    struct gap gap = { 0 };
    pthread_mutex_lock(&out.lock);
    for (;;) {
        while (out.n == 0 && out.lost == 0 && !out.stopping)
            pthread_cond_wait(&out.filled, &out.lock);
        if (out.n == 0 && out.lost == 0)
            break;
        const char *data = out.half[out.filling];
        size_t      n = out.n;
        uint64_t    lost = out.lost;
        out.filling ^= 1;
        out.n = out.lost = 0;
        pthread_mutex_unlock(&out.lock);
        if (gap.lines > 0)
            tell_gap(&gap);
        write_or_count(&gap, data, n);
        gap.lines += lost;
        if (gap.lines > 0)
            tell_gap(&gap);
        pthread_mutex_lock(&out.lock);
    }
    pthread_mutex_unlock(&out.lock);
    return NULL;
}

/* Changes how the next bytes reach standard error. */
static void set_way(enum way way)
{
    pthread_mutex_lock(&out.lock);
    out.way = way;
    pthread_mutex_unlock(&out.lock);
}

/* From here on lines go through a buffer that a thread of its own writes, so that no request waits for a slow disk. -1:
 * there is no thread, and lines are written where they are made, as before. */
int log_start(void)
{
    set_way(WAY_BUFFER);
    if (pthread_create(&out.writer, NULL, write_halves, NULL) == 0)
        return 0;
    set_way(WAY_DIRECT);
    return -1;
}

/* Tells the writer to finish and waits for it, but not for ever: standard error may be a pipe that nobody reads. If
 * the time is not enough the thread is left behind, and everything that is logged later is dropped, because two
 * writers would mix their lines. */
void log_stop(double seconds)
{
    pthread_mutex_lock(&out.lock);
    bool started = out.way == WAY_BUFFER && !out.stopping;
    out.stopping = true;
    pthread_cond_signal(&out.filled);
    pthread_mutex_unlock(&out.lock);
    if (!started)
        return;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    long nanoseconds = until.tv_nsec + (long)((seconds - (double)(time_t)seconds) * 1e9);
    until.tv_sec += (time_t)seconds + nanoseconds / 1000000000;
    until.tv_nsec = nanoseconds % 1000000000;
    bool ended = pthread_timedjoin_np(out.writer, NULL, &until) == 0;
    if (!ended)
        pthread_detach(out.writer);
    set_way(ended ? WAY_DIRECT : WAY_CLOSED);
}
