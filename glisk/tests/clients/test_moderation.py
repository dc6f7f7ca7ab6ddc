"""A refusal is known by what it speaks of, in words that nobody listed; breakage is none."""

import pytest

from glisk.clients.moderation import find_refusal

REFUSALS = [
    "All generated images contained NSFW content. Try running it again with a different prompt.",
    "NSFW content detected. Try running it again, or try a different prompt.",
    "The input or output was flagged as sensitive. Please try again with different inputs. (E005)",
    "Request Moderated",
    "Content Moderated",
    "Your request was rejected as a result of our safety system. Your prompt may contain text that "
    "is not allowed by our safety system.",
    "moderation_blocked",
    "IMAGE_PROHIBITED_CONTENT",
    "finish_reason: IMAGE_SAFETY",
    "finishReason=SAFETY",
    "PROHIBITED_CONTENT",
    "content_policy_violation",
    "ContentPolicyViolation",
    "OutputImageSensitiveContentDetected",
    "content_filter",
    "nsfw",
    "Input data may contain inappropriate content.",
    "The request failed because the input text may contain sensitive information. Request id: 02a",
    "Prediction failed: ValueError: Potential NSFW content was detected in one or more images. A "
    "black image will be returned instead.",
    "Your request was flagged by our content moderation system, as a result your request was "
    "denied and you were not charged.",
    "This prompt violates our usage policies (https://example.com/connect/policies).",
    "The prompt has been blocked because it depicts a public figure",
    "Sorry, we cannot generate images of celebrities.",
    "Image generation was refused: sexually explicit material",
    "Error: prompt failed the safety check",
    "The generated image did not pass our safety filters",
    "We are unable to create this picture, since it goes against our community guidelines",
    "Blocked by content filter (category: violence)",
    "The output was withheld: hate speech",
    "Responsible AI practices: the response was filtered",
    "Depicting minors in unsafe situations is forbidden",
    "Use of this trademark is restricted",
    "Director: content moderation rejected the job (E9243)",
    "The prompt could not be submitted. This prompt contains words that violate Vertex AI's usage "
    "guidelines. Try rephrasing the prompt. Support codes: 42876398",
    "Person/face generation is currently restricted by the safety settings",
    "SAFETY.INPUT.TEXT",
    "INPUT_PREPROCESSING.SAFETY.TEXT",
    "1026: The image description involves sensitive content",
    "output new_sensitive",
    "Failure to pass the risk control system",
    "The prompt failed to pass our safety check",
    "Banned prompt detected",
    "Your prompt may not meet user guidelines",
    "Profanity detected in prompt",
    "This generation may violate our Terms",
    "ResponsibleAIPolicyViolation",
    "{'code': 'moderation_failed', 'message': 'Prompt not accepted'}",
]
OTHERS = [
    "",
    "CUDA error: out of memory",
    "RuntimeError: safety checker failed to load",
    "OSError: cannot load weights of CompVis/stable-diffusion-safety-checker: 503 blocked",
    "ModuleNotFoundError: No module named 'nsfw_detector'",
    "The moderation service is unavailable; the request was rejected",
    "content moderation timed out, generation refused",
    "Failed to download safety_checker/model.safetensors: connection reset, blocked by peer",
    "prediction 429-402-nsfw1 did something new",
    "prediction 3nsfw7moderated0flagged5blocked not created",
    "Prediction interrupted; please retry (code: PA)",
    "Director: unexpected error handling prediction (E9828)",
    "CUDA error: an illegal memory access was detected",
    "thread safety violation detected",
    "The node was flagged as unhealthy and removed from the pool",
    "Access denied by bucket policy",
    "retry policy exhausted: the upstream rejected 3 calls",
    "Option names are case-sensitive; 'Seed' is not allowed",
    "input.safety_tolerance: Must be less than or equal to 2",
    'safety_filter_level must be one of the following: "block_low", "block_none"',
    "disable_safety_checker: Invalid type. Expected: boolean, given: string",
    "Prompt rejected: too long, 300 tokens exceed the limit of 77",
    "Your account was flagged for violating our terms of service and is suspended",
    "No NSFW content detected",
    "nsfw_content_detected: [False]",
    "Safety check passed, nothing was flagged",
    "Safety checker is disabled: outputs are not filtered",
    "0 images flagged",
    "NSFW score 0.02",
    "Running safety checker",
    "Loading NSFW filter... blocked for 3.1 s",
    "explicit conversion from float to int is not permitted",
    "Failed to pull image: rejected by registry",
    "Input validation failed: - input.prompt is required",
    "socket closed: operation would have blocked",
    "The image was rejected: unsupported media type",
    "prompt was rejected by the tokenizer: invalid utf-8",
    "moderation endpoint returned 502, refusing request",
    "Removed sensitive environment variables",
    "Access to model X is restricted. You must accept the terms of use",
    "Pod blocked by admission policy",
    "content flagged: 0",
    "adult=0 violence=0.01 detected",
    "Copyright (c) 2016-2023, NVIDIA. Reproduction is prohibited. All rights reserved",
    "HTTP 403 Forbidden",
    "The safety checker took 3.1 s",
    "Failed to run safety checker: RuntimeError",
    "safety checker failed",
    "Moderation request failed",
    "Error while running NSFW detection: tensor dimensions do not match",
    "nsfw_detection failed: KeyError 'pixel_values'",
    "The image was rejected by the upload server",
    "Prompt rejected: the queue is full",
    "Image blocked by CORS policy",
    "SSRF protection: unsafe URL rejected",
    "This model violates our terms of service",
    "The model was removed for copyright infringement",
    "Your user has been blocked for violating our acceptable use policy",
    "Requests from your region are restricted by our terms of service",
    "Request blocked: it violates the rate policy",
    "Prompt not allowed: empty string",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_known_in_any_words(text: str) -> None:
    assert find_refusal(text)


@pytest.mark.parametrize("text", OTHERS)
def test_what_is_broken_is_no_refusal(text: str) -> None:
    assert find_refusal(text) == ""


def test_the_sentence_that_refused_is_told() -> None:
    logs = "Using seed: 7\nRunning safety checker\nNSFW content detected in image 0\nDone"
    assert find_refusal(logs) == "NSFW content detected in image 0"


def test_an_author_cannot_be_taken_for_the_moderation() -> None:
    prompt = "an angry mob, the content is prohibited, and violence was detected"
    for logs in (f"Prompt: {prompt}", f"input.prompt = '{prompt}'", f"making '{prompt.title()}'"):
        assert find_refusal(f"Using seed: 1\n{logs}\ndone", prompt=prompt) == ""


def test_logs_that_repeat_what_was_asked_for_prove_nothing() -> None:
    for line in (
        "Prompt: an angry mob, nudity was detected in the",
        "input.prompt = 'an angry mob, nudity was detected",
        "  negative_prompt: nsfw, blocked content, violence",
        "kwargs={'prompt': 'an angry mob, nudity was detected'}",
    ):
        assert find_refusal(f"Using seed: 1\n{line}\ndone", in_logs=True) == ""
        assert find_refusal(f"{line}\nContent Moderated", in_logs=True) == "Content Moderated"


def test_a_prompt_of_one_word_does_not_hide_its_refusal() -> None:
    assert find_refusal("NSFW content detected", prompt="nsfw")
