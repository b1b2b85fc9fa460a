"""moto, with one difference. Where a bucket has a default retention, moto wants to hear the header that Amazon's SDKs send
beside a checksum. Amazon itself wants the checksum, and says so: "Content-MD5 OR x-amz-checksum- HTTP header is required"."""

import sys

from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.server import main

answer = DomainDispatcherApplication.__call__


def hears_checksums(self, environ, start_response):
    for name in ("SHA256", "CRC64NVME"):
        if f"HTTP_X_AMZ_CHECKSUM_{name}" in environ:
            environ.setdefault("HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM", name)
    return answer(self, environ, start_response)


DomainDispatcherApplication.__call__ = hears_checksums
main(sys.argv[1:])
