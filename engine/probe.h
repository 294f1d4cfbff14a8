/* engine/probe.h - numbers of a prompt's computation for whoever looks at a model: logits, or features of images.
 *
 * The result is as large as params->probe makes it, is allocated when the request is, filled by the engine's thread
 * step by step, and becomes the client's with the end. Owned by its request. */
#ifndef ENGINE_PROBE_H
#define ENGINE_PROBE_H
#include "engine/request.h"
#include "engine/runner.h"

/* -1: memory is out (503), or it would be more numbers than an int counts. PROBE_NOT takes none. */
int  probed_init(struct probed *p, enum probe how, const struct prompt *prompt, const struct model *m, struct err *e);
void probed_free(struct probed *p);

/* Takes the logits that the request's part of the step that was finished last has yielded; `first` is their first row
 * among those of the step. NULL, or what the device said. */
const char *probe_logits(struct runner *r, const struct step_seq *q, int first);

/* Have all images of the request been encoded? */
bool probe_images_ready(const struct request *r);
/* Takes their features. NULL, or what the device said. */
const char *probe_images(struct runner *r, struct request *q);

#endif
