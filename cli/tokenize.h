/* cli/tokenize.h - `openautoglm tokenize` and `detokenize`: look at a
 * model's tokenizer. One JSON value a line in, one a line out; a line that
 * cannot be answered gives {"error": "..."} and the next one is read.
 * A string with half a surrogate pair ("\ud800") is such a line: it is no text
 * to the reference either. */
#ifndef CLI_TOKENIZE_H
#define CLI_TOKENIZE_H

/* `argv[0]` is the name of the command. The exit code: 0 at the end of the
 * input, 2 when the command line or the tokenizer is wrong (one line on
 * standard error). */
int command_tokenize(int argc, char **argv);   /* --model DIR [--special]: string -> [id, ...]      */
int command_detokenize(int argc, char **argv); /* --model DIR [--skip-special]: [id, ...] -> string */

#endif
