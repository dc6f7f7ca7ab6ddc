"""The colours of batches and transactions in the admin."""

from reveals.models import BatchStatus, TransactionStatus

BATCH_LABELS = {
    BatchStatus.OPEN: "info",
    BatchStatus.CONFIRMED: "success",
    BatchStatus.REVERTED: "danger",
}
TRANSACTION_LABELS = {
    TransactionStatus.SIGNED: "default",
    TransactionStatus.BROADCAST: "info",
    TransactionStatus.CONFIRMED: "success",
    TransactionStatus.REVERTED: "danger",
    TransactionStatus.REPLACED: "warning",
}
