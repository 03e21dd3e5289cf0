/* commands.h - one function per command. Each returns the exit code and has said everything. */
#ifndef QUERN_TOOL_COMMANDS_H
#define QUERN_TOOL_COMMANDS_H

#include "options.h"

int command_train(const options *o);
int command_eval(const options *o);
int command_predict(const options *o);
int command_verify(const options *o);
int command_devices(const options *o);
int command_inspect(const options *o);

/* Says a failure on standard error and returns its exit code. */
int command_fail(quern_status status);

/* "INPUT": the status without its prefix. */
const char *command_status_name(quern_status status);

#endif
