"""List the models that the emulator knows, and check inputs the way their schemas do.

Prices and parameters are those of the models' public pages; the error texts are the ones that
Replicate's JSON schema validator writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

JsonType = Literal["string", "integer", "number", "boolean"]

FLUX_SIZES: dict[str, tuple[int, int]] = {
    "1:1": (1024, 1024),
    "16:9": (1344, 768),
    "21:9": (1536, 640),
    "3:2": (1216, 832),
    "2:3": (832, 1216),
    "4:5": (896, 1088),
    "5:4": (1088, 896),
    "3:4": (896, 1152),
    "4:3": (1152, 896),
    "9:16": (768, 1344),
    "9:21": (640, 1536),
}


@dataclass(frozen=True)
class Parameter:
    """Describe one input of a model."""

    type: JsonType
    default: Any = None
    required: bool = False
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


FLUX_SCHNELL_INPUT: dict[str, Parameter] = {
    "prompt": Parameter("string", required=True),
    "aspect_ratio": Parameter("string", "1:1", choices=tuple(FLUX_SIZES)),
    "num_outputs": Parameter("integer", 1, minimum=1, maximum=4),
    "num_inference_steps": Parameter("integer", 4, minimum=1, maximum=4),
    "seed": Parameter("integer"),
    "output_format": Parameter("string", "webp", choices=("webp", "jpg", "png")),
    "output_quality": Parameter("integer", 80, minimum=0, maximum=100),
    "disable_safety_checker": Parameter("boolean", False),
    "go_fast": Parameter("boolean", True),
    "megapixels": Parameter("string", "1", choices=("1", "0.25")),
}
STABLE_DIFFUSION_INPUT: dict[str, Parameter] = {
    "prompt": Parameter("string", required=True),
    "negative_prompt": Parameter("string", ""),
    "width": Parameter("integer", 1024, minimum=64, maximum=1536),
    "height": Parameter("integer", 1024, minimum=64, maximum=1536),
    "num_outputs": Parameter("integer", 1, minimum=1, maximum=4),
    "num_inference_steps": Parameter("integer", 25, minimum=1, maximum=500),
    "guidance_scale": Parameter("number", 7.5, minimum=1, maximum=50),
    "seed": Parameter("integer"),
}


@dataclass(frozen=True)
class Model:
    """Describe a model; `version` is "hidden" for official ones, 64 hex digits otherwise."""

    name: str
    version: str
    price_usd: float
    input: Mapping[str, Parameter]
    family: Literal["flux", "stable-diffusion"] = "flux"

    @property
    def official(self) -> bool:
        """Say whether the model can be run by its name alone."""
        return self.version == "hidden"

    def setting(self, values: Mapping[str, Any], name: str) -> Any:
        """Return an input's value or its default."""
        parameter = self.input.get(name)
        return values.get(name, parameter.default if parameter else None)

    def size(self, values: Mapping[str, Any]) -> tuple[int, int]:
        """Return width and height of the images, in pixels."""
        if self.family == "stable-diffusion":
            return self.setting(values, "width"), self.setting(values, "height")
        width, height = FLUX_SIZES[self.setting(values, "aspect_ratio")]
        if self.setting(values, "megapixels") == "0.25":
            return width // 2, height // 2
        return width, height

    def output_format(self, values: Mapping[str, Any]) -> str:
        """Return the file name extension of the images."""
        return self.setting(values, "output_format") or "png"


MODELS: tuple[Model, ...] = (
    Model("black-forest-labs/flux-schnell", "hidden", 0.003, FLUX_SCHNELL_INPUT),
    Model(
        "black-forest-labs/flux-dev",
        "hidden",
        0.025,
        {
            **FLUX_SCHNELL_INPUT,
            "num_inference_steps": Parameter("integer", 28, minimum=1, maximum=50),
            "guidance": Parameter("number", 3, minimum=0, maximum=10),
        },
    ),
    Model(
        "stability-ai/sdxl",
        "7762fd07cf82c948538e41f63f77d685e02b063e37e496e96eefd46c929f9bdc",
        0.0045,
        STABLE_DIFFUSION_INPUT,
        "stable-diffusion",
    ),
)


def find_model(reference: str) -> Model | None:
    """Find a model by the `version` of a request: 64 hex digits, or an official model's name."""
    for model in MODELS:
        names = (
            (model.name,) if model.official else (model.version, f"{model.name}:{model.version}")
        )
        if reference in names:
            return model
    return None


def named_model(name: str) -> Model:
    """Return a known model by its name."""
    return next(model for model in MODELS if model.name == name)


def find_official(name: str) -> Model | None:
    """Find a model that can be run by its name alone."""
    return next((model for model in MODELS if model.official and model.name == name), None)


@dataclass(frozen=True)
class InvalidField:
    """Describe one error of an input, as the 422 body lists it."""

    type: str
    field: str
    description: str


def invalid_fields(model: Model, values: Any) -> list[InvalidField]:
    """Check an input against the model's parameters; unknown names are ignored."""
    if not isinstance(values, dict):
        given = json_type(values)
        text = f"Invalid type. Expected: object, given: {given}"
        return [InvalidField("invalid_type", "input", text)]
    errors = [
        InvalidField("required", "input", f"{name} is required")
        for name, parameter in model.input.items()
        if parameter.required and name not in values
    ]
    for name, parameter in model.input.items():
        if name in values:
            errors += _invalid_setting(f"input.{name}", parameter, values[name])
    return errors


def _invalid_setting(field: str, parameter: Parameter, setting: Any) -> list[InvalidField]:
    given = json_type(setting)
    if given != parameter.type and not (parameter.type == "number" and given == "integer"):
        text = f"Invalid type. Expected: {parameter.type}, given: {given}"
        return [InvalidField("invalid_type", field, text)]
    if parameter.choices and setting not in parameter.choices:
        allowed = ", ".join(f'"{choice}"' for choice in parameter.choices)
        text = f"{field} must be one of the following: {allowed}"
        return [InvalidField("enum", field, text)]
    if parameter.minimum is not None and setting < parameter.minimum:
        text = f"Must be greater than or equal to {parameter.minimum:g}"
        return [InvalidField("number_gte", field, text)]
    if parameter.maximum is not None and setting > parameter.maximum:
        text = f"Must be less than or equal to {parameter.maximum:g}"
        return [InvalidField("number_lte", field, text)]
    return []


def json_type(setting: Any) -> str:
    """Name the JSON type of a parsed value, as the validator does."""
    if setting is None:
        return "null"
    if isinstance(setting, bool):
        return "boolean"
    if isinstance(setting, int) or (isinstance(setting, float) and setting.is_integer()):
        return "integer"
    for kind, name in ((float, "number"), (str, "string"), (list, "array")):
        if isinstance(setting, kind):
            return name
    return "object"
