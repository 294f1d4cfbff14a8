/* server/handlers.h - one function per route; each answers its exchange. */
#ifndef SERVER_HANDLERS_H
#define SERVER_HANDLERS_H
#include "server/app.h"

void chat_completions(struct app *a, struct exchange *x);
void completions(struct app *a, struct exchange *x);
void embeddings(struct app *a, struct exchange *x);
void rerank(struct app *a, struct exchange *x);
void score(struct app *a, struct exchange *x);
void classify(struct app *a, struct exchange *x);
void responses(struct app *a, struct exchange *x);
void anthropic_messages(struct app *a, struct exchange *x);
void anthropic_count(struct app *a, struct exchange *x);
void anthropic_error(struct buf *out, int status, const struct err *e);      /* an error in their form */
void models_list(struct app *a, struct exchange *x);
void models_get(struct app *a, struct exchange *x);
void model_info(struct app *a, struct exchange *x);
void server_info(struct app *a, struct exchange *x);
void load_get(struct app *a, struct exchange *x);
void health_get(struct app *a, struct exchange *x);
void live_get(struct app *a, struct exchange *x);
void metrics_get(struct app *a, struct exchange *x);
void chat_render(struct app *a, struct exchange *x);
void version_get(struct app *a, struct exchange *x);
void tokenize_post(struct app *a, struct exchange *x);
void detokenize_post(struct app *a, struct exchange *x);
void page_get(struct app *a, struct exchange *x);
void openapi_get(struct app *a, struct exchange *x);

/* Answers 404 model_not_found and returns -1 if the request names a model that is not served. */
int check_model(struct app *a, const json_t *in, struct err *e);

#endif
