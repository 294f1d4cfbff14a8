/* server/openapi.c - GET /openapi.json: openapi.yaml, as JSON. The build translates the file, and its bytes are a part
 * of the program, so that nothing here reads YAML and the description is always that of this very program. */
#include "server/handlers.h"

/* The Makefile says where the translated file is. The path counts from the folder in which make runs. */
__asm__(".pushsection .rodata\n"
        "openapi_json:\n"
        ".incbin \"" OPENAPI_JSON "\"\n"
        "openapi_json_end:\n"
        ".byte 0\n"
        ".popsection\n");
extern const char openapi_json[] __attribute__((visibility("hidden")));
extern const char openapi_json_end[] __attribute__((visibility("hidden")));

/* Needs no engine: a client may read what it can ask while the model loads. */
void openapi_get(struct app *a, struct exchange *x)
{
    (void)a;
    x->status = 200;
    buf_add(&x->reply, openapi_json, (size_t)(openapi_json_end - openapi_json));
}
