/* base/origin.h - whose text a byte of a rendered chat is.
 *
 * Tokens that build a chat (turns, ends, places of images) count only where the
 * template wrote them. So every string of a rendering knows which of its bytes
 * the template wrote and which came with the request, through all that a
 * template does with strings; the tokenizer asks when it finds such a token.
 * Where several meet, the greatest counts. */
#ifndef BASE_ORIGIN_H
#define BASE_ORIGIN_H
#include <stddef.h>
#include <stdint.h>

enum origin {
    FROM_TEMPLATE, /* the template's literals, the checkpoint's names of tokens        */
    FROM_REQUEST,  /* what the client wrote, and what the model answered earlier       */
    FROM_OTHERS,   /* what the client passes on: results of tools, retrieved documents */
};

/* The greatest origin of n bytes. */
static inline enum origin origin_most(const uint8_t *from, size_t n)
{
    uint8_t most = FROM_TEMPLATE;
    for (size_t i = 0; i < n; i++)
        most = from[i] > most ? from[i] : most;
    return (enum origin)most;
}

#endif
