"""Ansible module: invoke a Lambda function, wait for its answer, and never let two invocations write at the same time."""

from __future__ import annotations

import json
import time
from typing import Any

try:
    from botocore.config import Config
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectionClosedError,
        ReadTimeoutError,
    )
except ImportError:
    BotoCoreError = ClientError = ConnectionClosedError = ReadTimeoutError = Exception

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DOCUMENTATION = r"""
---
module: lambda_invocation
short_description: Invoke a Lambda function and wait for its answer
description:
  - Waits as long as the function may run. boto3 by itself gives up after 60 seconds and invokes the function again while the
    first invocation is still at work.
  - An invocation whose answer was lost, or that ran into its timeout, is repeated with the same payload once it must be over.
    The payload has to name what makes a repetition harmless, a batch id here.
  - While all of the function's reserved concurrency is in use, it comes again.
options:
  function: {description: Name of the function., type: str, required: true}
  payload: {description: What it is invoked with., type: dict, required: true}
  attempts: {description: How often it is invoked until an answer is there., type: int, default: 3}
  patience: {description: Seconds that it waits for another invocation to end., type: int, default: 300}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
author: RetailFlow
attributes:
  check_mode: {support: full, description: Invokes nothing.}
"""

EXAMPLES = r"""
- name: Write a batch once, however often this is repeated
  lambda_invocation:
    function: report
    payload: {batch_id: report-2026-11}
"""

RETURN = r"""
answer: {description: What the function returned., type: dict, returned: success}
attempts: {description: How often it was invoked., type: int, returned: success}
"""

BUSY_SECONDS = 5
# What the network may add to the time of the function.
NETWORK_SECONDS = 30


class InvocationError(Exception):
    """Why there is no answer, in words for the person who runs the play."""


def timed_out(answer: Any) -> bool:
    """Whether the function was ended at its timeout ("Task timed out after 3.00 seconds")."""
    return isinstance(answer, dict) and "Task timed out" in str(answer.get("errorMessage"))


class Invocation:
    """Invokes one function until it has answered; the client must not retry by itself."""

    def __init__(self, client: Any, function: str, timeout: int, patience: int = 300) -> None:
        self.client = client
        self.function = function
        self.timeout = timeout
        self.patience = patience
        self.sleep = time.sleep
        self.done = 0

    def once(self, payload: dict[str, Any]) -> Any:
        """Invoke it; wait while its concurrency is in use. ClientError, or an error of the connection."""
        waited = 0
        while True:
            try:
                return self.client.invoke(FunctionName=self.function, Payload=json.dumps(payload))
            except ClientError as error:
                if error.response["Error"]["Code"] != "TooManyRequestsException" or waited >= self.patience:
                    raise
                self.sleep(BUSY_SECONDS)
                waited += BUSY_SECONDS

    def answer(self, payload: dict[str, Any], attempts: int) -> Any:
        """Return what the function returned.

        InvocationError where it failed, where every attempt ran into the timeout, or where no answer came.
        """
        reason = ""
        for number in range(attempts):
            self.done = number + 1
            try:
                found = self.once(payload)
            except (ReadTimeoutError, ConnectionClosedError) as error:
                reason = f"no answer came within {self.timeout + NETWORK_SECONDS} s ({type(error).__name__})"
                # It may still run, and would be run a second time beside itself.
                self.sleep(self.timeout)
                continue
            answer = json.loads(found["Payload"].read() or b"null")
            if not found.get("FunctionError"):
                return answer
            if not timed_out(answer):
                raise InvocationError(
                    f"The function {self.function} ended with {answer.get('errorType', 'an error')}: "
                    f"{answer.get('errorMessage')}. What it had finished before is kept; of a batch that failed, no row was "
                    "written. Mend the cause and send the same request again."
                )
            reason = f"it was ended at its timeout of {self.timeout} s"
        raise InvocationError(
            f"The function {self.function} was invoked {attempts} times with the same batch id: {reason}. What it had finished "
            "is kept, and the same request goes on from there. Give it more time or memory (lambda_generator_timeout, "
            "lambda_generator_memory), or ask for fewer rows."
        )


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "function": {"type": "str", "required": True},
            "payload": {"type": "dict", "required": True},
            "attempts": {"type": "int", "default": 3},
            "patience": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    params = module.params
    if module.check_mode:
        module.exit_json(changed=False, answer={}, attempts=0)
    try:
        configuration = module.client("lambda").get_function_configuration(FunctionName=params["function"])
        timeout = int(configuration["Timeout"])
        config = Config(
            read_timeout=timeout + NETWORK_SECONDS, retries={"total_max_attempts": 1}, tcp_keepalive=True
        )
        client = module.client("lambda", config=config)
        invocation = Invocation(client, params["function"], timeout, params["patience"])
        answer = invocation.answer(params["payload"], params["attempts"])
    except InvocationError as error:
        module.fail_json(msg=str(error))
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg=f"The function {params['function']} could not be invoked")
    # New rows are the function's work, not a change of the site.
    module.exit_json(changed=False, answer=answer, attempts=invocation.done)


if __name__ == "__main__":
    main()
