"""How what compiles at run time finds its compiler and its cache."""

from __future__ import annotations

from pathlib import Path

from sandbox.engine import compilers

CACHE = Path("/opt/models/cache")
CUDA = "lib/python3.11/site-packages/nvidia/cu13"


def environment(folder: Path, is_linkable: bool = True) -> Path:
    """An environment with the compiler of CUDA's wheels."""
    names = ["bin/nvcc", *(["lib64/libcudart.so"] if is_linkable else [])]
    for name in names:
        file = folder / CUDA / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return folder


def test_all_that_is_compiled_goes_into_the_cache(tmp_path: Path) -> None:
    found = compilers.variables(CACHE, {}, tmp_path)
    for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "FLASHINFER_WORKSPACE_BASE"):
        assert found[name].startswith(f"{CACHE}/")
    assert found["CUDA_CACHE_PATH"] == f"{CACHE}/cuda"


def test_what_a_person_has_set_stays(tmp_path: Path) -> None:
    own = {"TRITON_CACHE_DIR": "/mine", "VLLM_USE_FLASHINFER_SAMPLER": "1"}
    assert not own.keys() & compilers.variables(CACHE, own, tmp_path).keys()


def test_a_home_that_can_be_written_keeps_its_own_cache(tmp_path: Path) -> None:
    assert "XDG_CACHE_HOME" not in compilers.variables(CACHE, {"HOME": str(tmp_path)}, tmp_path)


def test_a_service_without_a_home_has_its_cache_with_the_models(tmp_path: Path) -> None:
    found = compilers.variables(CACHE, {"HOME": "/nonexistent"}, tmp_path)
    assert found["XDG_CACHE_HOME"] == f"{CACHE}/xdg"


def test_the_compiler_of_the_environment_is_found(tmp_path: Path) -> None:
    found = compilers.variables(CACHE, {"PATH": "/usr/bin"}, environment(tmp_path))
    assert found["CUDA_HOME"] == str(tmp_path / CUDA)
    assert found["PATH"].split(":") == [f"{tmp_path}/bin", f"{tmp_path}/{CUDA}/bin", "/usr/bin"]


def test_ninja_is_found_without_cuda_too(tmp_path: Path) -> None:
    found = compilers.variables(CACHE, {"PATH": "/usr/bin"}, tmp_path)
    assert found["PATH"] == f"{tmp_path}/bin:/usr/bin"
    assert "CUDA_HOME" not in found


def test_a_toolkit_of_the_persons_own_is_used(tmp_path: Path) -> None:
    own = {"CUDA_HOME": "/usr/local/cuda", "PATH": "/usr/bin"}
    found = compilers.variables(CACHE, own, environment(tmp_path))
    assert "CUDA_HOME" not in found
    assert CUDA not in found["PATH"]


def test_a_compiler_that_could_not_link_is_not_offered(tmp_path: Path) -> None:
    found = compilers.variables(CACHE, {}, environment(tmp_path, is_linkable=False))
    assert "CUDA_HOME" not in found
