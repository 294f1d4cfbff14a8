/* cli/talk.h - a conversation on the terminal: questions, pictures, answers as they come, and commands that begin
 * with a slash. */
#ifndef CLI_TALK_H
#define CLI_TALK_H
#include <jansson.h>

#include "cli/editor.h"
#include "cli/pictures.h"
#include "cli/preview.h"

struct talk {
    const struct config *c;        /* borrowed                                                              */
    struct engine  *engine;        /* borrowed                                                              */
    struct editor  *editor;
    enum preview    preview;
    struct params   params;
    json_t         *messages;      /* owned: as a client would send them                                    */
    struct pictures pictures;      /* of the messages, in their order; then those for the next question     */
    int             n_sent;        /* of these, in messages                                                 */
    bool            leave;         /* /exit was typed                                                       */
};

/* Until the person leaves. `first` are pictures for the first question, which become the conversation's. */
void talk(const struct config *c, struct engine *g, struct pictures *first);

/* A picture for the next question; it is shown if the terminal can. */
int  talk_attach(struct talk *t, const char *path, struct err *e);
void talk_set_system(struct talk *t, const char *text);    /* "": none */
void talk_clear(struct talk *t);           /* the system's message stays */

/* One line on the terminal that is no part of the conversation. */
void talk_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
