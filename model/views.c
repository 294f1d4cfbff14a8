/* model/views.c - what an image's plan says about its views, for those who make
 * them (image/) and those who count their bytes. */
#include <assert.h>
#include <string.h>

#include "model/model.h"

/* A plan without views of its own means one: the whole picture, resized. */
struct image_recipe plan_recipe(const struct image_plan *p)
{
    struct image_recipe r = { .filter = p->filter, .how = p->resizer, .n = p->n_views };
    if (p->n_views == 0)
        return image_resized(&(struct resize_to){ p->width, p->height, p->filter, p->resizer });
    memcpy(r.view, p->view, (size_t)p->n_views * sizeof *r.view);
    return r;
}

size_t plan_bytes(const struct image_plan *p)
{
    struct image_recipe r = plan_recipe(p);
    return image_recipe_bytes(&r);
}

void plan_view(struct image_plan *p, struct image_view v)
{
    assert(p->n_views < IMAGE_MAX_VIEWS);
    bool first = !v.hidden;
    for (int i = 0; i < p->n_views; i++)
        first = first && p->view[i].hidden;
    if (first)
        p->width = v.width, p->height = v.height;
    p->view[p->n_views++] = v;
}
