/* base/err.h - an expected failure, told to the caller.
 *
 * Functions that can fail return 0, or -1 after filling the `struct err` that
 * is their last argument. The text is one line for a person; `field` names the
 * request field, option, file or tensor at fault where there is one; `code` is
 * one of the API's string codes or "" (then the HTTP layer takes its default).
 * `e` may be NULL: the caller does not want to know why. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

struct err {
    int  status;      /* HTTP status to answer with; 0: the caller decides (400) */
    char code[48];    /* "context_length_exceeded", ... or ""                    */
    char field[128];  /* "messages[1].content[0].image_url", ... or ""           */
    char text[512];
    long have, most;  /* the numbers behind context_length_exceeded: tokens of the prompt, of the context; or 0 */
};

/* Fills `e` (field, code and status cleared) and returns -1. */
int err_set(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Fills `e` and names the field, option, file or tensor at fault; returns -1. */
int err_field(struct err *e, const char *field, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Memory for this request ran out: status 503, code out_of_memory. Whoever can say more puts a prefix in front. */
int err_memory(struct err *e);

/* Puts "prefix: " in front of the text that is already there; returns -1. */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
