"""The kinds of desktop flow actions that made-up logs are written with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parameter:
    """An input or output; a `#` in a value stands for a number, the variable is empty for a literal."""

    name: str
    label: str
    label_de: str
    value: str
    variable: str = ""


@dataclass(frozen=True, slots=True)
class ActionKind:
    """One action as the designer offers it; `typical_s` is how long it usually takes."""

    action: str
    module: str
    module_label: str
    module_label_de: str
    name: str
    name_de: str
    typical_s: float
    inputs: tuple[Parameter, ...] = ()
    outputs: tuple[Parameter, ...] = ()


_EXCEL = ("Excel", "Excel", "Excel")
_BROWSER = ("WebAutomation", "Browser automation", "Browserautomatisierung")
_SCREEN = ("UIAutomation", "UI automation", "Benutzeroberflächenautomatisierung")
_FILE = ("File", "File", "Datei")
_FOLDER = ("Folder", "Folder", "Ordner")
_TEXT = ("Text", "Text", "Text")
_VARIABLES = ("Variables", "Variables", "Variablen")
_DATABASE = ("Database", "Database", "Datenbank")
_WEB = ("Web", "HTTP", "HTTP")
_MAIL = ("Outlook", "Outlook", "Outlook")
_TIME = ("DateTime", "Date time", "Datum/Uhrzeit")
_CONTROL = ("FlowControl", "Flow control", "Flusssteuerung")
_LOOPS = ("Loops", "Loops", "Schleifen")
_CONDITIONS = ("Conditionals", "Conditionals", "Bedingungen")
_SYSTEM = ("System", "System", "System")

LEAVES = (
    ActionKind(
        "LaunchExcel",
        *_EXCEL,
        "Launch Excel",
        "Excel starten",
        3.0,
        (Parameter("path", "Document path", "Dokumentpfad", "D:\\Übergabe\\Liste_#.xlsx", "Path"),),
        (Parameter("instance", "Excel instance", "Excel-Instanz", "Instance #", "ExcelInstance"),),
    ),
    ActionKind(
        "ReadFromExcel",
        *_EXCEL,
        "Read from Excel worksheet",
        "Aus Excel-Arbeitsblatt lesen",
        0.8,
        (
            Parameter("startColumn", "Start column", "Startspalte", "1"),
            Parameter("startRow", "Start row", "Startzeile", "#", "Row"),
            Parameter("readAsText", "Get cell contents as text", "Zellinhalt als Text abrufen", "False"),
        ),
        (Parameter("rangeValue", "Excel data", "Excel-Daten", "Düsseldorf; 1.2#,50 €", "ExcelData"),),
    ),
    ActionKind(
        "WriteToExcel",
        *_EXCEL,
        "Write to Excel worksheet",
        "In Excel-Arbeitsblatt schreiben",
        0.6,
        (
            Parameter("value", "Value to write", "Zu schreibender Wert", "erledigt ✓ #", "Result"),
            Parameter("row", "Row", "Zeile", "#", "Row"),
        ),
    ),
    ActionKind("CloseExcel", *_EXCEL, "Close Excel", "Excel schließen", 0.7),
    ActionKind(
        "LaunchEdge",
        *_BROWSER,
        "Launch new Microsoft Edge",
        "Neues Microsoft Edge starten",
        4.0,
        (Parameter("url", "Initial URL", "Anfangs-URL", "https://portal.nordwind.example/orders/#", "Url"),),
        (Parameter("browser", "Browser instance", "Browserinstanz", "Browser #", "Browser"),),
    ),
    ActionKind(
        "ClickLink",
        *_BROWSER,
        "Click link on web page",
        "Link auf Webseite anklicken",
        1.2,
        (Parameter("element", "UI element", "UI-Element", "a.order-#"),),
    ),
    ActionKind(
        "PopulateTextField",
        *_BROWSER,
        "Populate text field on web page",
        "Textfeld auf Webseite ausfüllen",
        0.9,
        (
            Parameter("element", "UI element", "UI-Element", "input#user"),
            Parameter("text", "Text", "Text", 'Größe "XL" \\ №#', "Text"),
        ),
    ),
    ActionKind(
        "ExtractData",
        *_BROWSER,
        "Extract data from web page",
        "Daten von Webseite extrahieren",
        2.5,
        outputs=(
            Parameter("data", "Data extracted", "Extrahierte Daten", "[[Łódź, #],[São Paulo, 7]]", "Orders"),
        ),
    ),
    ActionKind(
        "PressButton",
        *_SCREEN,
        "Press button in window",
        "Schaltfläche in Fenster drücken",
        1.0,
        (Parameter("button", "UI element", "UI-Element", "Button “Speichern”"),),
    ),
    ActionKind(
        "GetDetailsOfElement",
        *_SCREEN,
        "Get details of a UI element in window",
        "Details eines UI-Elements abrufen",
        0.7,
        (Parameter("attribute", "Attribute name", "Attributname", "Own Text"),),
        (Parameter("value", "Attribute value", "Attributwert", "Beleg #", "AttributeValue"),),
    ),
    ActionKind(
        "PopulatePasswordField",
        *_SCREEN,
        "Populate text field in window",
        "Textfeld im Fenster ausfüllen",
        0.9,
        (
            Parameter("userName", "User name", "Benutzername", "svc-rpa0#", "UserName"),
            Parameter("password", "Password", "Kennwort", "SIMULATED-SECRET-password-#", "Password"),
        ),
    ),
    ActionKind(
        "GetFilesInFolder",
        *_FOLDER,
        "Get files in folder",
        "Dateien im Ordner abrufen",
        0.4,
        (Parameter("folder", "Folder", "Ordner", "\\\\server\\eingang\\2025-#", "Folder"),),
        (Parameter("files", "Files", "Dateien", "# Dateien", "Files"),),
    ),
    ActionKind(
        "MoveFile",
        *_FILE,
        "Move file(s)",
        "Datei(en) verschieben",
        0.3,
        (Parameter("file", "File(s) to move", "Zu verschiebende Datei(en)", "Rechnung_#.pdf", "CurrentItem"),),
        (Parameter("moved", "Moved file(s)", "Verschobene Datei(en)", "Rechnung_#.pdf", "MovedFiles"),),
    ),
    ActionKind(
        "ReadTextFromFile",
        *_FILE,
        "Read text from file",
        "Text aus Datei lesen",
        0.2,
        (Parameter("file", "File path", "Dateipfad", "C:\\temp\\配置-#.txt", "ConfigFile"),),
        (Parameter("contents", "File content", "Dateiinhalt", "line one\nline #\tend", "FileContents"),),
    ),
    ActionKind(
        "SetVariable",
        *_VARIABLES,
        "Set variable",
        "Variable festlegen",
        0.01,
        (Parameter("value", "Value", "Wert", "#"),),
        (Parameter("variable", "Variable", "Variable", "#", "Counter"),),
    ),
    ActionKind(
        "IncreaseVariable",
        *_VARIABLES,
        "Increase variable",
        "Variable erhöhen",
        0.01,
        (Parameter("increment", "Increase by", "Erhöhen um", "1"),),
        (Parameter("variable", "Variable name", "Variablenname", "#", "Row"),),
    ),
    ActionKind(
        "ReplaceText",
        *_TEXT,
        "Replace text",
        "Text ersetzen",
        0.02,
        (Parameter("text", "Text to parse", "Zu analysierender Text", "a, b; c «#»", "Text"),),
        (Parameter("replaced", "Replaced text", "Ersetzter Text", "a. b; c «#»", "Replaced"),),
    ),
    ActionKind(
        "ParseText",
        *_TEXT,
        "Parse text",
        "Text analysieren",
        0.03,
        (Parameter("pattern", "Text to find", "Zu suchender Text", "(\\d{4})-(\\d+)"),),
        (Parameter("match", "Match", "Übereinstimmung", "2025-#", "Match"),),
    ),
    ActionKind(
        "OpenConnection",
        *_DATABASE,
        "Open SQL connection",
        "SQL-Verbindung öffnen",
        0.5,
        (
            Parameter(
                "connectionString",
                "Connection string",
                "Verbindungszeichenfolge",
                "Server=sql#;Database=erp;Password=SIMULATED-SECRET-connection-#",
                "ConnectionString",
            ),
        ),
        (Parameter("connection", "SQL connection", "SQL-Verbindung", "Connection #", "SqlConnection"),),
    ),
    ActionKind(
        "ExecuteSql",
        *_DATABASE,
        "Execute SQL statement",
        "SQL-Anweisung ausführen",
        0.9,
        (Parameter("statement", "SQL statement", "SQL-Anweisung", "SELECT * FROM [Aufträge] WHERE id > #"),),
        (Parameter("result", "Query results", "Abfrageergebnisse", "# Zeilen", "QueryResult"),),
    ),
    ActionKind(
        "InvokeWebService",
        *_WEB,
        "Invoke web service",
        "Webdienst aufrufen",
        1.4,
        (
            Parameter("url", "URL", "URL", "https://api.nordwind.example/v2/rates?d=#"),
            Parameter("apiKey", "API key", "API-Schlüssel", "SIMULATED-SECRET-apikey-#", "ApiKey"),
        ),
        (Parameter("statusCode", "Status code", "Statuscode", "200", "StatusCode"),),
    ),
    ActionKind(
        "SendEmail",
        *_MAIL,
        "Send email message through Outlook",
        "E-Mail-Nachricht über Outlook senden",
        1.8,
        (
            Parameter("to", "To", "An", "mei.tanaka@nordwind.example"),
            Parameter("subject", "Subject", "Betreff", "Report № # 完了", "Subject"),
        ),
    ),
    ActionKind(
        "GetCurrentDateTime",
        *_TIME,
        "Get current date and time",
        "Aktuelles Datum und aktuelle Uhrzeit abrufen",
        0.01,
        outputs=(Parameter("now", "Current date and time", "Aktuelles Datum", "11/2#/2025 08:15:00", "Now"),),
    ),
    ActionKind(
        "RunApplication",
        *_SYSTEM,
        "Run application",
        "Anwendung ausführen",
        2.2,
        (Parameter("path", "Application path", "Anwendungspfad", "C:\\Program Files\\SAP\\saplogon.exe"),),
        (Parameter("processId", "App process ID", "Prozess-ID", "1#", "AppProcessId"),),
    ),
    ActionKind(
        "Wait",
        *_CONTROL,
        "Wait",
        "Warten",
        2.0,
        (Parameter("duration", "Duration", "Dauer", "2"),),
    ),
)

FOR_EACH = ActionKind(
    "ForEach",
    *_LOOPS,
    "For each",
    "Für jedes",
    0.01,
    (Parameter("list", "Value to iterate", "Zu durchlaufender Wert", "Rechnung_#.pdf", "Files"),),
    (Parameter("item", "Store into", "Speichern in", "Rechnung_#.pdf", "CurrentItem"),),
)
IF = ActionKind(
    "If",
    *_CONDITIONS,
    "If",
    "Wenn",
    0.01,
    (Parameter("expression", "Condition", "Bedingung", "True"),),
)
ERROR_BLOCK = ActionKind("BlockError", *_CONTROL, "On block error", "Bei Blockfehler", 0.01)
RUN_SUBFLOW = ActionKind(
    "RunSubflow",
    *_CONTROL,
    "Run subflow",
    "Untergeordneten Flow ausführen",
    0.01,
    (Parameter("subflow", "Run subflow", "Untergeordneten Flow ausführen", "Anmeldung"),),
)
