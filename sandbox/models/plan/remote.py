"""A repository on Hugging Face to a candidate, by the real client: a few small requests."""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sandbox.errors import SandboxError
from sandbox.models.download.hub import Hub, HubUnreachableError, display_name, explain
from sandbox.models.plan.errors import UnplannableError
from sandbox.models.plan.examine import INDEX, Candidate, assemble, weight_files
from sandbox.models.plan.weights import Tensor
from sandbox.models.source import HubModel

# A large model has dozens of files, each of which costs one request for its header.
_REQUESTS_AT_ONCE = 16
_TIMEOUT_SECONDS = 10


def examine_repository(model: HubModel, hub: Hub, cache: Path) -> Candidate:
    """The model in a repository on the hub. Takes seconds; writes nothing that stays.

    ``cache`` is only looked at, for models with a similar name. Raises ``HubUnreachableError``
    when a later try may help, and ``SandboxError`` when it will not.
    """
    # Half a second to import: only where the hub is asked.
    from httpx2 import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, SafetensorsParsingError

    name = display_name(model)
    try:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        info = api.model_info(
            model.model_id,
            revision=model.revision,
            files_metadata=True,
            timeout=_TIMEOUT_SECONDS,
        )
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        if "config.json" not in sizes:
            weight_files(name, sizes, None)
            raise UnplannableError(f"{name} has no config.json.", "Choose another model.")
        with tempfile.TemporaryDirectory() as folder:

            def read(path: str) -> Any:
                file = api.hf_hub_download(
                    model.model_id, path, revision=info.sha, local_dir=folder
                )
                return json.loads(Path(file).read_text(encoding="utf-8"))

            config = read("config.json")
            files = weight_files(name, sizes, read(INDEX) if INDEX in sizes else None)

        def header(path: str) -> list[Tensor]:
            found = api.parse_safetensors_file_metadata(model.model_id, path, revision=info.sha)
            return [
                Tensor(key, str(entry.dtype), tuple(entry.shape))
                for key, entry in found.tensors.items()
            ]

        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
            tensors = [tensor for part in pool.map(header, files) for tensor in part]
    except (HfHubHTTPError, HTTPError, OSError) as error:
        problem = explain(error, hub, model, cache)
        if isinstance(problem, HubUnreachableError):
            reason = problem.message.split(": ", 1)[-1]
            raise HubUnreachableError(
                f"{name} could not be looked up: {reason}", "Check the network, then try again."
            ) from None
        raise problem from None
    except (ValueError, SafetensorsParsingError) as error:
        raise SandboxError(
            f"{name} has a broken file: {error}.", "Choose another model or MODEL_REVISION."
        ) from None
    found = assemble(name, config, tensors)
    return Candidate(
        name, found.shape, found.weights, download_bytes=sum(sizes[file] for file in files)
    )
