/* model/tower.h - the vision transformer of CLIP and SigLIP, which many families
 * look through: square patches of a picture, a learned position for each, a
 * class token before them or none, then layers that norm what they read.
 *
 *     tower_load(l, &t, &vision, load_root(l, TOWER_PROBE, roots), &(struct tower_kind){ .class_token = true, ... });
 *     struct tensor x = tower_states(r, &t, in->rgb, views, side, side, t.n_layers);  // of all views
 *     nn_norm(r, x, x, &t.post);                                                  // where the family wants it
 *
 * A view is one picture of the planned size. The views of an image are equal in
 * size, lie one after the other, and do not see each other. */
#ifndef MODEL_TOWER_H
#define MODEL_TOWER_H
#include "model/blocks.h"
#include "model/load.h"
#include "model/pixels.h"

#define TOWER_PROBE "embeddings.position_embedding.weight"   /* a tensor that every tower has */
enum { TOWER_MAX_LAYERS = 256 };

struct tower_sizes {                 /* of layers; the same in the text encoders of CLIP and SigLIP */
    int      width, inner, heads;
    enum act act;
    double   eps;                    /* of all norms */
};

struct tower_kind {                  /* what a family's code fixes, and its class' defaults */
    bool        class_token;         /* CLIP: a learned row stands before the patches        */
    bool        pre_norm;            /* CLIP: the sum of patches and positions is normed     */
    enum bias   patch_bias;          /* SigLIP                                               */
    bool        flat_patches;        /* SigLIP 2: patches are embedded by a plain matrix, whose columns are (y, x,
                                        channel), and the configuration has num_patches in the place of image_size */
    bool        no_post;             /* post_layernorm is not used                           */
    int         unused_layers;       /* so many of the last layers are not run, nor loaded   */
    int         width, inner, layers, heads, image, patch;
    const char *act;
    double      eps;
};

struct tower {
    struct tower_sizes size;
    struct weight embed;             /* (width, patch * patch * 3)                            */
    struct tensor class_row;         /* (1, width): the class token and its position; empty: none */
    struct tensor position;          /* (n_positions, width): of the patches                  */
    struct norm   pre, post;         /* empty: there is none                                  */
    struct block *layer;             /* (n_layers), the model's memory: those that are loaded */
    int n_layers;
    int patch;                       /* pixels along a side                                   */
    int image;                       /* pixels along a side of the picture that it was trained with; 0: any */
    int side;                        /* patches along that side                               */
    int n_positions;                 /* side * side                                           */
    struct pixel_norm pixels;        /* filled in by the family, with pixel_norm_load()       */
};

/* Reads the configuration's sizes, then everything below `root`, which ends in '.'. Errors stay in the loader. */
void tower_load(struct loader *l, struct tower *t, struct hparams *config, const char *root,
                const struct tower_kind *kind);
/* hidden_size, intermediate_size, num_attention_heads, hidden_act and layer_norm_eps; the defaults are the kind's. */
void tower_sizes_load(struct tower_sizes *s, struct hparams *config, const struct tower_kind *kind);
/* Layers ROOT.encoder.layers.0 .. n - 1, each of which knows the norm that follows it. */
void tower_layers_load(struct loader *l, struct block *layer, int n, const struct tower_sizes *s, const char *root);
/* NAME (out, 3, patch, patch) as conv2d reads it: (out, (y, x, channel)). */
void tower_patches_load(struct loader *l, struct weight *w, int out, int patch, enum bias bias, const char *name);

/* Rows that a view of so many pixels becomes: its patches, and the class token. What is left at the right and lower
 * edge of a picture whose sides are no multiples of a patch is not looked at. */
int tower_rows(const struct tower *t, int height, int width);

/* What the layers begin with: `out` (tower_rows(), width) of one view, the class token first, the patches row by row.
 * places (patches), on the device: the row of `position` that each patch gets; NULL: the first ones in order. */
void tower_embed(struct run *r, const struct tower *t, struct tensor out, const uint8_t *rgb, int height, int width,
                 const int *places);
/* The same with the positions of these patches, (patches, width). */
void tower_embed_at(struct run *r, const struct tower *t, struct tensor out, const uint8_t *rgb, int height, int width,
                    struct tensor position);
/* The same of `tiles` views that lie side by side in a picture of height x tiles * width pixels: a row of the tiles
 * into which a canvas is cut. out (tiles * tower_rows(), width), tile by tile. */
void tower_embed_tiles(struct run *r, const struct tower *t, struct tensor out, const uint8_t *rgb, int height,
                       int width, int tiles, struct tensor position);
/* For tower_embed(): the places of down x across patches in the table, as NaViT's kin have them: not by a patch's
 * number but by its share of the picture. */
const int *tower_bucket_places(struct run *r, const struct tower *t, int down, int across);
/* x becomes the states behind `layers` layers; its rows all see each other. */
void tower_run(struct run *r, const struct tower *t, struct tensor x, int layers);
/* Both for n views of height x width pixels that lie one after the other on the device: (n * tower_rows(), width),
 * view by view, before the last norm. hidden_states[i] of the reference is that of `layers` = i. */
struct tensor tower_states(struct run *r, const struct tower *t, const uint8_t *rgb, int n, int height, int width,
                           int layers);

/* The reference's pixel_values of one view, (3, height, width), bit for bit; out may be NULL. */
void tower_values(const struct tower *t, const uint8_t *rgb, int height, int width, float *out, int shape[4]);
/* The same of a plan whose views are canvases of square tiles: (tiles, 3, tile, tile), view by view and row by row. */
void tower_tile_values(const struct tower *t, const struct image_plan *p, const uint8_t *rgb, int tile, float *out,
                       int shape[4]);

#endif
