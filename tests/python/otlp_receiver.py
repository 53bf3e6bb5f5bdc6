"""A collector that knows nothing but OpenTelemetry's own definitions: grpcio, opentelemetry-proto.

    otlp_receiver.py PORT FILE

Appends a line of JSON to FILE for each log record, and answers a request when its lines are in the file.
SIGTERM is a good end: what was written is answered first. SIGKILL may fall between the two; the
sender cannot know then that the request was taken and sends it again, and the records' own
`mountwatch.sequence` tells that they are the same.
"""

import json
import signal
import sys
import threading
from concurrent import futures

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_rpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_rpc


def plain(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None


def attributes(of):
    return {one.key: plain(one.value) for one in of.attributes}


class Logs(logs_rpc.LogsServiceServicer):
    def __init__(self, out):
        self.out, self.lock = out, threading.Lock()

    def Export(self, request, context):
        lines = []
        for part in request.resource_logs:
            resource = attributes(part.resource)
            for scope in part.scope_logs:
                for record in scope.log_records:
                    lines.append(json.dumps({
                        "instance": resource["service.instance.id"],
                        "event": record.event_name,
                        "time": record.time_unix_nano,
                        **attributes(record),
                    }))
        with self.lock:
            # One write(2) at the end of each: a request is there as a whole, or not at all.
            self.out.write("".join(line + "\n" for line in lines))
            self.out.flush()
        return logs.ExportLogsServiceResponse()


class Metrics(metrics_rpc.MetricsServiceServicer):
    def __init__(self, out):
        self.out = out

    def Export(self, request, context):
        names = [
            metric.name
            for part in request.resource_metrics
            for scope in part.scope_metrics
            for metric in scope.metrics
        ]
        self.out.write(json.dumps(names) + "\n")
        self.out.flush()
        return metrics.ExportMetricsServiceResponse()


def main():
    port, path = sys.argv[1:]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    with open(path, "a", buffering=1 << 24) as out, open(path + ".metrics", "a") as numbers:
        logs_rpc.add_LogsServiceServicer_to_server(Logs(out), server)
        metrics_rpc.add_MetricsServiceServicer_to_server(Metrics(numbers), server)
        assert server.add_insecure_port(f"127.0.0.1:{port}"), "the port is taken"
        ended = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        server.start()
        print("listening", flush=True)
        ended.wait()
        server.stop(grace=10).wait()


main()
