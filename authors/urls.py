"""The author API; named paths stand before the wallet's, which matches anything."""

from django.urls import path

from authors.farcaster import FarcasterLinkView
from authors.views import AuthorView, NonceView, PromptView
from authors.x import XCallbackView, XStartView

urlpatterns = [
    path("api/authors/prompt", PromptView.as_view(), name="author-prompt"),
    path("api/authors/x/auth/start", XStartView.as_view(), name="x-start"),
    path("api/authors/x/callback", XCallbackView.as_view(), name="x-callback"),
    path("api/authors/farcaster/link", FarcasterLinkView.as_view(), name="farcaster-link"),
    path("api/authors/<str:wallet>/nonce", NonceView.as_view(), name="author-nonce"),
    path("api/authors/<str:wallet>", AuthorView.as_view(), name="author"),
]
