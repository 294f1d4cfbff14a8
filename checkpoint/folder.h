/* checkpoint/folder.h - is a path the folder of a checkpoint?
 *
 * People give what they have: a name on the Hugging Face hub, a GGUF file, the
 * folder of a LoRA adapter. One line then says what it is and what to do. Looks
 * at names and first bytes only. */
#ifndef CHECKPOINT_FOLDER_H
#define CHECKPOINT_FOLDER_H
#include "base/err.h"

/* 0: a folder with config.json and weights as safetensors, whatever is in them. -1: `e` says what it is instead. */
int folder_check(const char *dir, struct err *e);

#endif
