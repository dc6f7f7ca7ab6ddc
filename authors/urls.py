"""The author API; named paths stand before the wallet's, which matches anything."""

from django.urls import path

from authors.views import AuthorView

urlpatterns = [
    path("api/authors/<str:wallet>", AuthorView.as_view(), name="author"),
]
