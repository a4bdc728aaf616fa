"""Trains in a process of its own for every line on stdin, without TensorFlow's seconds of loading each time.

stdin: JSON arguments of `trainer.train.train`. stdout: the process's id, then its exit status.
"""

import json
import os
import sys
import traceback

from trainer.train import train  # TensorFlow starts its threads with its first operation: after the fork.


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                train(**json.loads(line), quiet=True)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
