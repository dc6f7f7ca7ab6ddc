"""The author API; named paths stand before the wallet's, which matches anything."""

from django.urls import path

from authors.farcaster_api import FarcasterLinkView
from authors.nonce_api import NonceView
from authors.prompt_api import PromptView
from authors.views import AuthorView
from authors.x_api import XCallbackView, XStartView

urlpatterns = [
    path("api/authors/prompt", PromptView.as_view(), name="author-prompt"),
    path("api/authors/x/auth/start", XStartView.as_view(), name="x-start"),
    path("api/authors/x/callback", XCallbackView.as_view(), name="x-callback"),
    path("api/authors/farcaster/link", FarcasterLinkView.as_view(), name="farcaster-link"),
    path("api/authors/<str:wallet>/nonce", NonceView.as_view(), name="author-nonce"),
    path("api/authors/<str:wallet>", AuthorView.as_view(), name="author"),
]
