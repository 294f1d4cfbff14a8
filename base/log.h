/* base/log.h - one line per event on standard error: time, level, text, and where there are any, fields.
 *
 * For people a line is `2026-01-31T12:00:00.000Z info text name=value`, for programs (LOG_JSON) an object with the
 * members "time", "level", "message" and the fields.
 *
 * A program that nobody may hold up calls log_start(): from then on a line goes into a buffer of LOG_BYTES, and a
 * thread of its own writes that to standard error. Whoever logs never waits, whether standard error is a pipe that
 * nobody reads, a terminal that was stopped, or a full disk. Lines that find no room, or cannot be written, are left
 * out; as soon as lines can be written again, one of them says how many are missing there. Without log_start() a line
 * is written before log_line() returns. */
#ifndef BASE_LOG_H
#define BASE_LOG_H
#include <stddef.h>

enum { LOG_BYTES = 256 << 10 };

enum log_format { LOG_PLAIN, LOG_JSON };

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_set_level(enum log_level least);
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Lines that are written from now on: as text, in colours where somebody looks at a terminal, or as JSON. */
void log_set_format(enum log_format format);

/* One thing that a line says beside its text. Strings are borrowed, and cut where they are long. */
struct log_field {
    const char *name;          /* a word: small letters and '_'         */
    const char *text;          /* NULL: the value is the number         */
    double      number;
    int         decimals;      /* of the number; 0: it is a whole one   */
};
enum { LOG_FIELDS = 24 };      /* most fields of a line */

/* A line with n fields. A field whose text is "" is left out. */
void log_fields(enum log_level level, const char *message, const struct log_field *field, int n);

/* Bytes for standard error that are not a line of the log, in order with its lines. */
void log_bytes(const char *data, size_t n);

/* Starts the thread. The caller has blocked the signals that it is not to take. -1: there is no thread; lines are
 * written as before. */
int  log_start(void);

/* Writes what waits, for at most `seconds`. If that is not enough, everything after it is left out.
 * To be called once; a second thread's call returns at once. */
void log_stop(double seconds);

#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)

#endif
