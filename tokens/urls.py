"""The token API. Its named author paths stand before the wallet's (see glisk/urls.py)."""

from django.urls import path

from tokens.api.gallery import gallery, gallery_updates
from tokens.api.operations import OperatorTokenListView, OperatorTokenView, RetryTokenView
from tokens.api.views import (
    AuthorTokensView,
    LeaderboardView,
    MintEventsView,
    MintView,
    TokenListView,
    TokenView,
)

urlpatterns = [
    path("", gallery, name="gallery"),
    path("gallery/updates", gallery_updates, name="gallery-updates"),
    path("api/authors/leaderboard", LeaderboardView.as_view(), name="leaderboard"),
    path("api/authors/<str:wallet>/tokens", AuthorTokensView.as_view(), name="author-tokens"),
    path("api/tokens", TokenListView.as_view(), name="tokens"),
    path("api/tokens/<int:token_id>", TokenView.as_view(), name="token"),
    path("api/admin/tokens", OperatorTokenListView.as_view(), name="operator-tokens"),
    path("api/admin/tokens/<int:token_id>", OperatorTokenView.as_view(), name="operator-token"),
    path("admin/tokens", OperatorTokenListView.as_view(schema=None)),
    path("admin/token/<int:token_id>", OperatorTokenView.as_view(schema=None)),
    path("api/admin/tokens/<int:token_id>/retry", RetryTokenView.as_view(), name="operator-retry"),
    path("api/mints/<str:tx_hash>", MintView.as_view(), name="mint"),
    path("api/mints/<str:tx_hash>/events", MintEventsView.as_view(), name="mint-events"),
]
