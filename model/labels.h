/* model/labels.h - the classes of a model's head and their names. */
#ifndef MODEL_LABELS_H
#define MODEL_LABELS_H
#include "model/load.h"

/* How many there are, as id2label or num_labels says (`def` where neither does), and their names, which become the
 * model's. The family loads the head. Errors stay in the loader. */
void labels_load(struct loader *l, int def);

/* The head of a checkpoint ...ForSequenceClassification over the last hidden state of a text: `score`, or as vLLM's
 * users write it in config.json, `classifier_from_token`: rows of the head for tokens (`head`), or the difference of
 * two. Then the model makes no texts. Nothing is done where the checkpoint has neither. */
void classes_load(struct loader *l, struct weight *out, const char *head);

#endif
