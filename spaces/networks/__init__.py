"""What spaces build that is no block over tokens: networks of cells, stages and graphs, operators of flow grammars."""
