// SPDX-License-Identifier: MIT
pragma solidity 0.8.20;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {ERC2981} from "@openzeppelin/contracts/token/common/ERC2981.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {ERC721Enumerable} from "@openzeppelin/contracts/token/ERC721/extensions/ERC721Enumerable.sol";
import {ReentrancyGuard} from "@openzeppelin/contracts/utils/ReentrancyGuard.sol";

/// @title Stand-in for the GLISK collection, for the sandbox only.
/// @notice It has the deployed contract's interface, events, errors, check order and storage
/// slots, including what is dangerous about it: a reveal looks neither at whether the token
/// exists nor at the URI, and it can never be repeated.
/// @dev The order of the base contracts decides the storage slots: our own start at 14.
contract GliskDemo is ERC721Enumerable, AccessControl, ERC2981, ReentrancyGuard {
    using SafeERC20 for IERC20;

    bytes32 public constant KEEPER_ROLE = keccak256("KEEPER_ROLE");
    uint256 public constant MAX_BATCH_SIZE = 50;
    uint256 public constant SWEEP_PROTECTION_PERIOD = 14 days;
    uint96 private constant ROYALTY_BASIS_POINTS = 250;

    uint256 private _nextTokenId = 1; // slot 14
    uint256 public mintPrice; // slot 15
    uint256 public treasuryBalance; // slot 16
    string private _placeholderURI; // slot 17
    bool public seasonEnded; // slot 18
    uint256 public seasonEndTime; // slot 19
    mapping(uint256 tokenId => address) public tokenPromptAuthor; // slot 20
    mapping(uint256 tokenId => string) private _tokenURIs; // slot 21
    mapping(uint256 tokenId => bool) private _revealed; // slot 22
    mapping(address author => uint256) public authorClaimable; // slot 23

    event BatchMinted(
        address indexed minter,
        address indexed promptAuthor,
        uint256 indexed startTokenId,
        uint256 quantity,
        uint256 totalPaid
    );
    event TokensRevealed(uint256[] tokenIds);
    event PlaceholderURIUpdated(string newURI);
    event MintPriceUpdated(uint256 oldPrice, uint256 newPrice);
    event SeasonEnded(uint256 endTime);
    event AuthorClaimed(address indexed author, uint256 amount);
    event TreasuryWithdrawn(address indexed to, uint256 amount);
    event DirectPaymentReceived(address indexed from, uint256 amount);
    event UnclaimedRewardsSwept(uint256 totalAmount, uint256 authorCount);
    event ERC20Recovered(address indexed token, address indexed to, uint256 amount);
    event RoyaltyUpdated(address indexed receiver, uint96 feeNumerator);

    error AlreadyRevealed(uint256 tokenId);
    error LengthMismatch();
    error InvalidQuantity();
    error ExceedsMaxBatchSize();
    error InsufficientPayment();
    error MintingDisabled();
    error SeasonAlreadyEnded();
    error SeasonNotEnded();
    error SweepProtectionActive();
    error NoBalance();
    error TransferFailed();

    constructor(
        string memory name_,
        string memory symbol_,
        string memory placeholderURI_,
        uint256 mintPrice_
    ) ERC721(name_, symbol_) {
        _placeholderURI = placeholderURI_;
        mintPrice = mintPrice_;
        _grantRole(DEFAULT_ADMIN_ROLE, msg.sender);
        _setDefaultRoyalty(msg.sender, ROYALTY_BASIS_POINTS);
    }

    receive() external payable {
        treasuryBalance += msg.value;
        emit DirectPaymentReceived(msg.sender, msg.value);
    }

    /// @notice Mint blind boxes of an author; any author address is taken, the zero address too.
    /// @dev The author is written after the receiver's callback, so a callback reads 0x0.
    function mint(address promptAuthor, uint256 quantity) external payable nonReentrant {
        if (quantity == 0) revert InvalidQuantity();
        if (quantity > MAX_BATCH_SIZE) revert ExceedsMaxBatchSize();
        uint256 price = mintPrice * quantity;
        if (msg.value < price) revert InsufficientPayment();
        if (seasonEnded) revert MintingDisabled();

        // Half of the price is the author's; the treasury keeps the rest and any overpayment.
        uint256 authorShare = price / 2;
        authorClaimable[promptAuthor] += authorShare;
        treasuryBalance += msg.value - authorShare;

        uint256 startTokenId = _nextTokenId;
        for (uint256 i = 0; i < quantity; i++) {
            uint256 tokenId = _nextTokenId++;
            _safeMint(msg.sender, tokenId);
            tokenPromptAuthor[tokenId] = promptAuthor;
        }
        emit BatchMinted(msg.sender, promptAuthor, startTokenId, quantity, msg.value);
    }

    /// @notice Set the final URIs of tokens, once and for ever.
    /// @dev Deliberately checks neither existence nor content, like the deployed contract.
    function revealTokens(uint256[] calldata tokenIds, string[] calldata uris)
        external
        nonReentrant
    {
        if (!hasRole(KEEPER_ROLE, msg.sender) && !hasRole(DEFAULT_ADMIN_ROLE, msg.sender)) {
            revert AccessControlUnauthorizedAccount(msg.sender, KEEPER_ROLE);
        }
        if (tokenIds.length != uris.length) revert LengthMismatch();
        for (uint256 i = 0; i < tokenIds.length; i++) {
            uint256 tokenId = tokenIds[i];
            if (_revealed[tokenId]) revert AlreadyRevealed(tokenId);
            _tokenURIs[tokenId] = uris[i];
            _revealed[tokenId] = true;
        }
        emit TokensRevealed(tokenIds);
    }

    function claimAuthorRewards() external nonReentrant {
        uint256 amount = authorClaimable[msg.sender];
        if (amount == 0) revert NoBalance();
        authorClaimable[msg.sender] = 0;
        _pay(msg.sender, amount);
        emit AuthorClaimed(msg.sender, amount);
    }

    function setPlaceholderURI(string calldata newURI) external onlyRole(DEFAULT_ADMIN_ROLE) {
        _placeholderURI = newURI;
        emit PlaceholderURIUpdated(newURI);
    }

    function setMintPrice(uint256 newPrice) external onlyRole(DEFAULT_ADMIN_ROLE) {
        emit MintPriceUpdated(mintPrice, newPrice);
        mintPrice = newPrice;
    }

    function setDefaultRoyalty(address receiver, uint96 feeNumerator)
        external
        onlyRole(DEFAULT_ADMIN_ROLE)
    {
        _setDefaultRoyalty(receiver, feeNumerator);
        emit RoyaltyUpdated(receiver, feeNumerator);
    }

    function endSeason() external onlyRole(DEFAULT_ADMIN_ROLE) {
        if (seasonEnded) revert SeasonAlreadyEnded();
        seasonEnded = true;
        seasonEndTime = block.timestamp;
        emit SeasonEnded(block.timestamp);
    }

    /// @notice Move what authors never claimed to the treasury, two weeks after the season.
    function sweepUnclaimedRewards(address[] calldata authors)
        external
        onlyRole(DEFAULT_ADMIN_ROLE)
    {
        if (!seasonEnded) revert SeasonNotEnded();
        if (block.timestamp < seasonEndTime + SWEEP_PROTECTION_PERIOD) {
            revert SweepProtectionActive();
        }
        uint256 total = 0;
        for (uint256 i = 0; i < authors.length; i++) {
            total += authorClaimable[authors[i]];
            authorClaimable[authors[i]] = 0;
        }
        treasuryBalance += total;
        emit UnclaimedRewardsSwept(total, authors.length);
    }

    function withdrawTreasury() external nonReentrant onlyRole(DEFAULT_ADMIN_ROLE) {
        uint256 amount = treasuryBalance;
        if (amount == 0) revert NoBalance();
        treasuryBalance = 0;
        _pay(msg.sender, amount);
        emit TreasuryWithdrawn(msg.sender, amount);
    }

    function recoverERC20(address token, uint256 amount)
        external
        nonReentrant
        onlyRole(DEFAULT_ADMIN_ROLE)
    {
        IERC20(token).safeTransfer(msg.sender, amount);
        emit ERC20Recovered(token, msg.sender, amount);
    }

    function nextTokenId() external view returns (uint256) {
        return _nextTokenId;
    }

    function isRevealed(uint256 tokenId) external view returns (bool) {
        return _revealed[tokenId];
    }

    function tokenURI(uint256 tokenId) public view override returns (string memory) {
        _requireOwned(tokenId);
        return _revealed[tokenId] ? _tokenURIs[tokenId] : _placeholderURI;
    }

    function supportsInterface(bytes4 interfaceId)
        public
        view
        override(ERC721Enumerable, AccessControl, ERC2981)
        returns (bool)
    {
        return super.supportsInterface(interfaceId);
    }

    function _pay(address to, uint256 amount) private {
        (bool success,) = to.call{value: amount}("");
        if (!success) revert TransferFailed();
    }
}
