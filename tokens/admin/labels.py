"""The colours of states in the admin."""

from tokens.models.artefact import UploadStatus
from tokens.models.job import JobStatus
from tokens.states import TokenStatus

TOKEN_LABELS = {
    TokenStatus.DETECTED: "default",
    TokenStatus.GENERATING: "info",
    TokenStatus.UPLOADING: "primary",
    TokenStatus.READY: "warning",
    TokenStatus.REVEALED: "success",
    TokenStatus.FAILED: "danger",
}
JOB_LABELS = {
    JobStatus.CREATED: "default",
    JobStatus.SUBMITTED: "info",
    JobStatus.SUCCEEDED: "primary",
    JobStatus.CAPTURED: "success",
    JobStatus.FAILED: "danger",
    JobStatus.REJECTED: "warning",
}
UPLOAD_LABELS = {
    UploadStatus.SUCCEEDED: "success",
    UploadStatus.FAILED: "danger",
    UploadStatus.MISMATCH: "danger",
}
