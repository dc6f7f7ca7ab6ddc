"""The token API. Its named author paths stand before the wallet's (see glisk/urls.py)."""

from django.urls import path

from tokens.views import AuthorTokensView, LeaderboardView, TokenView

urlpatterns = [
    path("api/authors/leaderboard", LeaderboardView.as_view(), name="leaderboard"),
    path("api/authors/<str:wallet>/tokens", AuthorTokensView.as_view(), name="author-tokens"),
    path("api/tokens/<int:token_id>", TokenView.as_view(), name="token"),
]
