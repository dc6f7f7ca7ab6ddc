"""The JSON forms of an author."""

from rest_framework import serializers


class AuthorSerializer(serializers.Serializer):
    has_prompt = serializers.BooleanField(help_text="Whether the author has written a prompt.")
    twitter_handle = serializers.CharField(allow_null=True)
    farcaster_handle = serializers.CharField(allow_null=True)
