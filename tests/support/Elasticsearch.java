import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/** Runs one node of Elasticsearch until it is killed: FOLDER HTTP_PORT TRANSPORT_PORT. */
public class Elasticsearch {
    public static void main(String[] arguments) throws Exception {
        LogConfigurator.configureESLogging();
        var home = Path.of(arguments[0]);
        var settings = Settings.builder()
            .put("path.home", home.toString())
            .put("http.port", arguments[1])
            .put("transport.port", arguments[2])
            .put("network.host", "127.0.0.1")
            .put("discovery.type", "single-node")
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
        var config = home.resolve("config");
        var environment = InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), config, () -> "tests");
        var modules = PluginsLoader.loadModulesBundles(home.resolve("modules"));
        new Node(environment, PluginsLoader.createPluginsLoader(modules, Set.of(), Map.of(), false)).start();
        Thread.sleep(Long.MAX_VALUE);
    }
}
