#!/usr/bin/env python3
"""answer.py ANSWER... -- COMMAND...: runs COMMAND on a terminal of its own and types the answers.

One answer to each prompt, which is what stands on the last line and ends in a colon. What the command prints comes out
here. Exit status: the command's; 97 if it asked more often, or less often, than there are answers.
"""

import os
import pty
import sys

split = sys.argv.index("--")
answers, command = sys.argv[1:split], sys.argv[split + 1 :]

pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)

line = b""
unanswered = False
while True:
    try:
        read = os.read(terminal, 4096)
    except OSError:  # so Linux says that the other end is closed
        break
    if not read:
        break
    sys.stdout.buffer.write(read.replace(b"\r", b""))
    sys.stdout.buffer.flush()
    line = (line + read).rsplit(b"\n", 1)[-1]
    if line.rstrip(b" ").endswith(b":"):
        line = b""
        if answers:
            os.write(terminal, answers.pop(0).encode() + b"\n")
        else:
            unanswered = True
            os.write(terminal, b"\x04")  # the end of input: it gives up

status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
if unanswered or answers:
    print(f"answer.py: unasked answers: {len(answers)}; unanswered prompt: {unanswered}")
    status = 97
sys.exit(status)
