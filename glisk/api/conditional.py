"""Views whose answers have an ETag: they answer 304 to whoever has the same already.

`max_age` (seconds) 0 lets caches keep an answer but ask each time. The tag is made of the very
bytes, so an answer that differs in anything is sent.
"""

from typing import Any, ClassVar

from django.utils.cache import patch_cache_control
from django.utils.decorators import method_decorator
from django.views.decorators.http import conditional_page
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


@method_decorator(conditional_page, name="dispatch")
class ConditionalView(APIView):
    max_age: ClassVar[int] = 0

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        answer = super().finalize_response(request, response, *args, **kwargs)
        if answer.status_code == 200:
            kept = {"public": True, "max_age": self.max_age} if self.max_age else {"no_cache": True}
            patch_cache_control(answer, **kept)
        return answer
