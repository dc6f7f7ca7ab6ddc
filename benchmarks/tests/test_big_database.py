"""The big database is whole: what it makes, the program's own rules accept."""

import pytest
from django.db import connection
from django.test import Client

from benchmarks.big_database import fill
from reveals.models import BatchStatus, RevealBatch, RevealTransaction
from tokens.models import ImageGenerationJob, MintEvent, Token
from tokens.states import TokenStatus
from tokens.totals import count_by_state

pytestmark = pytest.mark.django_db(transaction=True)


def indexes() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")
        return {row[0] for row in cursor.fetchall()}


def test_fills_a_database_and_leaves_its_indexes(admin_client: Client) -> None:
    before = indexes()
    fill(tokens=1000)
    assert indexes() == before
    numbers = {count.status: count.number for count in count_by_state()}
    assert sum(numbers.values()) == Token.objects.count() == 1000
    assert numbers[TokenStatus.REVEALED] == Token.objects.filter(status="revealed").count() == 792
    assert all(numbers[status] for status in TokenStatus)
    assert MintEvent.objects.count() == 200
    assert RevealBatch.objects.exclude(status=BatchStatus.OPEN).count() == 16
    assert RevealTransaction.objects.count() == 18
    assert ImageGenerationJob.objects.filter(status="submitted").count() == 40
    page = admin_client.get("/admin/tokens/token/?q=5").content.decode()
    assert "batch" in page.lower() or "revealed" in page
    with pytest.raises(RuntimeError, match="already"):
        fill(tokens=10)
