#!/usr/bin/env python3
"""What compute-sanitizer is asked, and what its log says.

    sanitizer.py --options TOOL                 its options
    sanitizer.py --filter TOOL                  the tests that run under it
    sanitizer.py TOOL CODE LOG RESULT_FILE      judges a log; CODE is how the command ended

Green is only a log in which every test ran to its end and the tool summed up no error. A tool that
the machine refuses, or that the time did not suffice for, has not run: neither green nor red. What
it found before that is red all the same.
"""
import pathlib
import re
import sys

from record import FAILED, NOT_RUN, PASSED, write

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
# Every op, and of training what reaches each task and update rule; not the test that asks for more
# memory than there is.
TESTS = ["GpuOp.*", "GpuTraining.a_captured_step_is_the_eager_step_bit_for_bit",
         "GpuTraining.every_optimizer_follows_the_cpu_in_its_first_step",
         "GpuTraining.in_16_bits_follows_the_cpu_and_graph_equals_eager",
         "GpuTraining.a_resident_set_gives_the_hosts_bits"]
# Parts of the names of the vendor's kernels, which are not ours to check and slow to.
VENDORS = ("cutlass", "cublas", "cudnn", "nvjet", "xmma", "implicit_convolve", "splitKreduce")
# cuDNN compiles while it plans, which takes minutes under a tool; what is ours of a convolution has
# neither shared memory nor barriers.
SLOW = "GpuOp.conv2d"
FOUND = re.compile(r"^=+ (Invalid |Misaligned |Uninitialized |Race reported|Error: Race"
                   r"|Warning: Race|Error: Potential|Barrier error|Divergent thread"
                   r"|.*hazard detected|Address .* out of bounds)", re.MULTILINE)
REFUSED = re.compile(r"not supported|\b999\b|unknown error|cudaErrorUnknown|CUDA_ERROR_UNKNOWN"
                     r"|terminated before first instrumented|Unable to|No attachable process"
                     r"|Failed to|failed to (initialize|connect|attach|launch)|Internal Sanitizer"
                     r"|InitializationFailed|option '[^']*' is invalid|unrecognised option"
                     r"|timed? ?out (waiting|connecting)|no kernel image", re.IGNORECASE)
# What the driver says where it is the tool that it refuses; anything else is a test's own failure.
UNKNOWN = re.compile(r"\b999\b|unknown error|cudaErrorUnknown|CUDA_ERROR_UNKNOWN", re.IGNORECASE)
COUNT = re.compile(r"(\d+) (?:errors?|hazards?|warnings?)\b")


def tests(tool):
    return ":".join(TESTS) + ("" if tool == "memcheck" else f"-{SLOW}")


def left_out(tool):
    return "the vendor's kernels" + ("" if tool == "memcheck" else f" and {SLOW}") + " left out"


def options(tool):
    """Bytes behind an allocation belong to no other one where memory is looked at."""
    words = ["--tool", tool, "--report-api-errors", "no", "--error-exitcode", "99",
             *(["--padding", "64"] if tool == "memcheck" else [])]
    for name in VENDORS:
        words += ["--kernel-name-exclude", f"kns={name}"]
    return words


def tool_lines(text):
    """What the tool says; what the tests say has no such beginning."""
    return "\n".join(line for line in text.splitlines() if line.startswith("====="))


def judge(tool, code, text):
    said = tool_lines(text)
    summaries = [line.strip("= ") for line in said.splitlines() if "SUMMARY" in line]
    counted = sum(int(n) for line in summaries for n in COUNT.findall(line))
    found = FOUND.search(said)
    done = len(re.findall(r"^\[       OK \]", text, re.MULTILINE))
    bad = re.findall(r"^\[  FAILED  \] (\S+) \(", text, re.MULTILINE)
    ended = re.search(r"^\[  PASSED  \] (\d+) tests?\.", text, re.MULTILINE)
    if found:
        line = next(x for x in said.splitlines() if found.group(0) in x).strip("= ")
        return FAILED, f"{line[:200]}; {summaries[-1] if summaries else 'no summary'}"
    refused = REFUSED.search(said) or (bad and UNKNOWN.search(text))
    if refused:
        line = next(x for x in text.splitlines() if refused.group(0) in x)
        return NOT_RUN, f"refused: {line.strip('= ')[:200]}"
    if code in (124, 137):
        return NOT_RUN, f"cut short after {done} tests without a finding"
    if counted:
        return FAILED, f"{summaries[-1]}, exit code {code}"
    if bad:
        return FAILED, f"tests fail under it: {', '.join(bad[:5])}"
    if not summaries or not ended or not int(ended.group(1)) or code != 0:
        lines = text.strip().splitlines() or ["no output"]
        return NOT_RUN, f"ended with {code} and no result: {lines[-1][:200]}"
    return PASSED, f"{summaries[-1]}: {ended.group(1)} tests, {left_out(tool)}"


def main(arguments):
    if arguments[0] == "--filter" and arguments[1] in TOOLS:
        print(tests(arguments[1]))
    elif arguments[0] == "--options" and arguments[1] in TOOLS:
        print("\n".join(options(arguments[1])))
    elif len(arguments) == 4:
        tool, code, log, result = arguments
        path = pathlib.Path(log)
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        status, words = judge(tool, int(code), text)
        write(result, status, words)
        print(f"sanitize-{tool}: {status.replace('_', ' ')}: {words}")
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
