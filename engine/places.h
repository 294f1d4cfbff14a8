/* engine/places.h - what stands in a prompt for its images.
 *
 * A chat template writes a mark for each image. The family may say what text
 * takes the mark's place (family.image_text), which depends on the image's
 * size; in the tokens of the text, each run of places is one place token, and
 * becomes as many as the image's plan gives it. From then on the places are
 * known by their numbers alone (prompt_image.start, end, run). */
#ifndef ENGINE_PLACES_H
#define ENGINE_PLACES_H
#include "engine/prompt.h"

/* Puts the text of every image of p (n_images, which the request has) in the place of its mark in a rendered chat, and
 * nothing where the family has no such text. Marks count where the template wrote them. -1: there are more or fewer
 * marks than images, or no memory. */
int places_write(const struct prompt *p, const struct model *m, const struct text *t, int n_images,
                 struct rendering *chat, struct err *e);

/* How many place tokens there are among the ids. */
int places_count(const struct model *m, const struct ids *ids);

/* Makes p->ids of these, in which every run of places is one token. `field`: where they came from; max_len: of the
 * prompt; keep: only the last so many tokens are to be left, 0: all, -1: as many as fit. */
int places_expand(struct prompt *p, const struct model *m, const struct ids *ids, int n_images, int max_len, int keep,
                  const char *field, struct err *e);

/* The opposite: leaves one place of each run in a copy of n ids. Every image must have as many places as its size gives
 * it; what stands between its runs is the caller's business. */
int places_join(const struct prompt *p, const struct model *m, const int32_t *ids, size_t n, int n_images,
                struct ids *out, struct err *e);

#endif
