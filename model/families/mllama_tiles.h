/* model/families/mllama_tiles.h - the tower of Llama 3.2 Vision: a picture in tiles.
 *
 *     tiles_load(l, &t, &vision, root);
 *     tiles_states(r, &t, in, &s);        // final and intermediate states of all tiles */
#ifndef MODEL_FAMILIES_MLLAMA_TILES_H
#define MODEL_FAMILIES_MLLAMA_TILES_H
#include "model/blocks.h"
#include "model/load.h"
#include "model/pixels.h"

enum { MAX_TAKEN = 16 };

struct tiles {
    struct pixel_norm pixels;
    struct weight embed;
    struct norm   pre, post;
    struct tensor place;             /* what patches begin with, (n_ratios * tiles + 1 + patches + 1, width): of a tile
                                        by the aspect ratio; the class token; of a row of a tile. Gates are in it */
    struct tensor tile_place;        /* ((n_ratios + 1) * tiles * (patches + 1), width) by ratio, tile and row, as it is
                                        stored, ... */
    struct tensor later_place;       /* (n_ratios * tiles, width): before the global layers; its gate is in it */
    float         tile_gate;         /* ... times this */
    struct tiled *layer;             /* (n_local + n_global), the model's memory */
    int n_local, n_global;
    int taken[MAX_TAKEN], n_taken;   /* local layers whose states are used, too */
    int width, side, patch, tiles, n_ratios;     /* side: pixels of a tile */
};

struct tile_states {                 /* rows of all tiles, one tile after the other; final has filling behind them */
    struct tensor final, kept[MAX_TAKEN];  /* (rows, width); kept: of the layers that are taken */
    int per_tile;                    /* rows: its class token and patches */
};

/* Reads the sizes, then everything below `root`, which ends in '.'. Errors stay in the loader. */
void tiles_load(struct loader *l, struct tiles *g, struct hparams *v, const char *root);
/* A gate of the tower or of the text, as a factor of each of n columns: (1, n). */
struct tensor tiles_gate(struct loader *l, int n, const char *name);

int  tiles_plan(const struct tiles *g, int width, int height, const struct image_options *opt, struct image_plan *out,
                struct err *e);
void tiles_largest(const struct tiles *g, struct image_plan *out);
void tiles_states(struct run *r, const struct tiles *g, const struct encode *in, struct tile_states *out);
/* As `pixel_values` of struct family. */
void tiles_values(const struct tiles *g, const struct image_plan *p, const uint8_t *rgb, float *out, int shape[4]);

#endif
