/* server/access.h - who may ask, and how much: the keys of keys.h applied to an exchange. Without keys everybody may
 * ask everything. */
#ifndef SERVER_ACCESS_H
#define SERVER_ACCESS_H
#include "server/app.h"

/* Finds the key that the request brings, as Bearer token or in x-api-key, and keeps it in x->key. false: there must be
 * one, and it is not among ours. */
bool access_identify(struct app *a, struct exchange *x);

/* The request begins, and counts for its key until access_end(). The answer tells the key's limits in the headers that
 * OpenAI has for them. -1: one is reached (429). */
int  access_begin(struct app *a, struct exchange *x, struct err *e);

/* So many tokens of its prompt or its answer are known now. */
void access_spend(struct app *a, struct exchange *x, int tokens);

/* To be called for every exchange, whatever became of it. */
void access_end(struct app *a, struct exchange *x);

#endif
