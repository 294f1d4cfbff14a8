/* engine/deliver.h - hands out what a step yields, for the engine's thread alone. */
#ifndef ENGINE_DELIVER_H
#define ENGINE_DELIVER_H
#include "engine/parts.h"

/* Copies the states or logits that q's request wants of a step: tokens begin at `sampled`, and its rows end before row
 * `end`. For all requests of the step, before deliver() is called for any. NULL, or what the device said. */
const char *deliver_numbers(struct engine *g, const struct step_seq *q, const struct sampled *sampled, int end);
/* Gives q's request what its part of the step yields, of which tokens begin at `sampled`. Where the backend computes by
 * itself, texts may wait for deliver_late(). NULL, or what the device said. */
const char *deliver(struct engine *g, const struct step_seq *q, const struct sampled *sampled);
/* Tells the texts that wait. */
void deliver_late(struct engine *g);
/* Requests for nothing but features or vectors of images end as soon as these are there. */
void deliver_features(struct engine *g);

/* Takes r, whose end event is there already, out of its list, and gives everything back; *count, if not NULL, is of
 * the statistics. */
void engine_retire(struct engine *g, struct request *r, struct request_list *from, uint64_t *count);
/* The error of those that run when the device has failed. */
void engine_broken(const char *what, struct err *e);

#endif
