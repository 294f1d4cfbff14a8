/* cli/compare_lines.h - the data of `openautoglm compare`: a file with one JSON
 * object a line, each of which becomes a prompt of the model.
 *
 *     {"text": "..."}                    as it is, with the tokens that the tokenizer adds
 *     {"messages": [...]}                a chat as the API takes it, images as data: URLs; other members are not read
 *
 *     struct lines l;
 *     lines_open(&l, path, m, dir, 4096, &e);
 *     while ((rc = lines_next(&l, &line, &e)) == 1) { ...; line_free(&line); }
 *     lines_close(&l); */
#ifndef CLI_COMPARE_LINES_H
#define CLI_COMPARE_LINES_H
#include <stdio.h>

#include "config/options.h"
#include "engine/prompt.h"
#include "engine/text.h"

struct lines {
    const char *path;              /* borrowed                                               */
    const struct model *m;         /* borrowed                                               */
    FILE *file;                    /* owned                                                  */
    char *line;                    /* owned                                                  */
    size_t cap;
    int number;                    /* of the line that was read last, from 1                 */
    struct text text;              /* of the model's folder                                  */
    struct config defaults;        /* limits for images                                      */
    struct budget decoding, pixels;
    struct prompt_limits limits;
    bool answers;                  /* the caller's choice: lines say which tokens are answers */
};

struct line {
    struct prompt *prompt;         /* prompt_free()                                          */
    bool chat;                     /* of messages, not a text                                */
    bool open;                     /* an answer may follow: not a chat that ends with one    */
    bool *answer;                  /* owned, (prompt->n): the assistant wrote this token; NULL: nobody asked */
};

/* max_tokens: of one line. -1: there is no such file, or the folder has no tokenizer. */
int  lines_open(struct lines *l, const char *path, const struct model *m, const char *dir, int max_tokens,
                struct err *e);
/* 1: *out is filled; 0: there is no more; -1: the message names file and line. Empty lines are passed over. */
int  lines_next(struct lines *l, struct line *out, struct err *e);
void line_free(struct line *line);
bool ends_answer(const struct model *m, int32_t id);     /* is this token the end of what the model says? */
void lines_close(struct lines *l);

#endif
