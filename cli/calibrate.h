/* cli/calibrate.h - the sample of `openautoglm quantize --calibrate FILE`: texts
 * or chats like those that the model will be used for. */
#ifndef CLI_CALIBRATE_H
#define CLI_CALIBRATE_H
#include "model/model.h"

struct sample {
    const char *path, *dir;    /* borrowed: the file, the checkpoint                */
    int max_tokens;            /* as many are read; what comes behind them is not   */
    int tokens, prompts;       /* filled in: how many they were                     */
};

/* Runs the model over the sample, as struct store_sample has it. arg: struct sample *. -1: the file cannot be used, and
 * the message names it and the line. */
int sample_run(void *arg, struct model *m, bool *counts, struct err *e);

#endif
