/* server/messages.h - the messages of a chat, checked and put into the form
 * that the engine takes. */
#ifndef SERVER_MESSAGES_H
#define SERVER_MESSAGES_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "engine/engine.h"
#include "fetch/remote.h"
#include "server/data_url.h"

struct message_image {
    char        field[128];    /* "messages[0].content[1].image_url.url"        */
    const char *detail;        /* static: "low", "high", "auto"; NULL: not given */
    int64_t     max_pixels, min_pixels;   /* 0: not given                       */
    json_t     *url;           /* borrowed from the request, emptied when decoded */
    bool        remote;        /* url names an image elsewhere, which somebody else must fetch */
    bool        attached;      /* it came beside the request; there is no url                  */
    struct data_url encoded;   /* borrowed from url; empty when decoded          */
    unsigned char *data;       /* owned; NULL until decoded                     */
    size_t      n;
};

struct messages {
    json_t *list;              /* owned: what goes into struct chat             */
    struct message_image *image;   /* owned                                     */
    int     n_images;
};

struct message_limits {
    int    max_images;
    size_t max_image_bytes;
    const struct remote_source *source;     /* says which remote images are allowed; NULL: none */
    bool   attached;           /* a part {"type": "image"} stands for the next image that came beside the request  */
};

/* Checks everything but the images' bytes. `in` must outlive messages_decode(). */
int  messages_parse(struct messages *m, const json_t *in, const struct message_limits *limits, struct err *e);
/* Makes the bytes of all images that are in the request. */
int  messages_decode(struct messages *m, struct err *e);
void messages_free(struct messages *m);

#endif
