"""What kafka-python's fixtures import from test.service, a file that its source package leaves out.

Its integration tests use it here for a broker that somebody else runs, which leaves nothing to do.
"""


class ExternalService:
    def __init__(self, host, port):
        self.host, self.port = host, port

    def open(self):
        pass

    def close(self):
        pass


class SpawnedService:
    def __init__(self, *args, **kwargs):
        raise RuntimeError("this suite starts no broker of its own")
