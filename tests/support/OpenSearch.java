import org.codelibs.opensearch.runner.OpenSearchRunner;

/** Runs one node of OpenSearch until it is killed: FOLDER HTTP_PORT TRANSPORT_PORT. */
public class OpenSearch {
    public static void main(String[] arguments) throws Exception {
        OpenSearchRunner runner = new OpenSearchRunner();
        runner.onBuild((number, settings) -> {
            settings.put("http.port", arguments[1]);
            settings.put("transport.port", arguments[2]);
            settings.put("network.host", "127.0.0.1");
            settings.put("discovery.type", "single-node");
            settings.put("cluster.routing.allocation.disk.threshold_enabled", false);
        });
        runner.build(OpenSearchRunner.newConfigs().basePath(arguments[0]).numOfNode(1).disableESLogger());
        Thread.sleep(Long.MAX_VALUE);
    }
}
