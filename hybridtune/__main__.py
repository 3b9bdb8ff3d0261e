from hybridtune.search.cli.main import main

main()
