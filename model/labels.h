/* model/labels.h - the classes of a model's head and their names. */
#ifndef MODEL_LABELS_H
#define MODEL_LABELS_H
#include "model/load.h"

/* How many there are, as id2label or num_labels says (`def` where neither does), and their names, which become the
 * model's. The family loads the head. Errors stay in the loader. */
void labels_load(struct loader *l, int def);

#endif
