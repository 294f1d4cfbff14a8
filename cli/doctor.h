/* cli/doctor.h - `openautoglm doctor`: what this machine offers, what the program would make of it, and whether a model
 * would fit; a verdict for each. */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

/* Exit status 0: nothing fails, though there may be warnings; 1: something does; 2: wrong options. */
int command_doctor(int argc, char **argv);

#endif
